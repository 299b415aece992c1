import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ContentFetcher } from "../../chain/content.ts";

/** Where published data and content are read from. */
export interface DataSources {
  content: ContentFetcher;
  /** What was named, as addresses. */
  archives: string[];
  /** Their origins: whoever asks has named them, so they may be on a private network. */
  trustedOrigins: string[];
}

/**
 * What `--data` names: folders and addresses of published data. Content may be read from these folders, too.
 *
 * @param home Where content is kept.
 */
export function dataSources(data: readonly string[], home: string): DataSources {
  const isAddress = (given: string) => /^\w+:\/\//.test(given);
  const folders = data.flatMap((given) => {
    if (given.startsWith("file:")) return fileURLToPath(given);
    return isAddress(given) ? [] : resolve(given);
  });
  const archives = data.map((given) => (isAddress(given) ? given : pathToFileURL(resolve(given)).href));
  const trustedOrigins = data.flatMap((given) => (/^https?:/.test(given) ? new URL(given).origin : []));
  const ipfsGateways = [process.env.OPENLEDGER_IPFS_GATEWAY ?? "https://ipfs.io"];
  const content = new ContentFetcher({ cache: join(home, "content"), folders, trustedOrigins, ipfsGateways });
  return { content, archives, trustedOrigins };
}
