import { BlockList, isIPv4, isIPv6 } from "node:net";

/** Special-purpose ranges of IANA's registries (RFC 6890 and what came after): nothing public lives there. */
const RANGES: readonly [string, number][] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.31.196.0", 24],
  ["192.52.193.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["192.175.48.0", 24],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
];

/** Of IPv6 only global unicast is public, less what is set apart inside of it: documentation, 6to4, Teredo and kin. */
const PUBLIC_6: [string, number] = ["2000::", 3];
const RANGES_6: readonly [string, number][] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const blocked = new BlockList();
for (const [net, prefix] of RANGES) blocked.addSubnet(net, prefix, "ipv4");
for (const [net, prefix] of RANGES_6) blocked.addSubnet(net, prefix, "ipv6");
const global6 = new BlockList();
global6.addSubnet(...PUBLIC_6, "ipv6");

/**
 * Whether an address is one that anybody on the internet may have. Addresses of IPv4 in the clothes of IPv6 (mapped,
 * translated, 6to4, Teredo) are not: whoever means them can write them plainly.
 */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !blocked.check(address, "ipv4");
  // A zone names one of this machine's links.
  if (!isIPv6(address) || address.includes("%")) return false;
  return global6.check(address, "ipv6") && !blocked.check(address, "ipv6");
}
