/** What a node does. Any of them may share a process, or have machines of their own. */
export const ROLES = ["gateway", "worker", "settler", "watcher"] as const;

export type Role = (typeof ROLES)[number];

/**
 * Reads `gateway,worker`; `all` stands for gateway, worker and settler and watcher in one process.
 *
 * @throws Error that names what is not known.
 */
export function readRoles(text: string): ReadonlySet<Role> {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("all")) return new Set(ROLES);
  for (const name of names) {
    if (!ROLES.includes(name as Role)) {
      throw new Error(`There is no role ${name || "without a name"}: all, or some of ${ROLES.join(", ")}.`);
    }
  }
  return new Set(names as Role[]);
}
