import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { folderRoot, isSafePath, readList, writeList } from "../../../operator/chain/content/content-folder.ts";
import { isPublicAddress } from "../../../operator/chain/content/private-addresses.ts";
import { ContentFetcher, type ContentSettings } from "../../../operator/chain/content.ts";
import { adapterHash } from "../../../operator/engine/model/adapter-folder.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { contentRoot } from "../../../operator/training/data/data-net-folder.ts";

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const folder = () => mkdtempSync(join(tmpdir(), "content-"));
const bytesOf = (text: string) => new TextEncoder().encode(text);
const hashOf = (text: string | Uint8Array) => toHex(keccak(typeof text === "string" ? bytesOf(text) : text));

function fetcher(settings: Partial<ContentSettings> = {}) {
  const cache = folder();
  return { cache, content: new ContentFetcher({ cache, ipfsGateways: [], folders: [], ...settings }) };
}

test("what is not what was registered is refused, and the next source is asked", async () => {
  const asked: string[] = [];
  const origin = await serve((request, response) => {
    asked.push(request.url!);
    response.end(request.url === "/right" ? "the template" : "another");
  });
  const { cache, content } = fetcher({ trustedOrigins: [origin] });
  const hash = hashOf("the template");
  await assert.rejects(content.file(hash, [`${origin}/wrong`]), { name: "ContentError", code: "wrong_hash" });
  assert.deepEqual(readdirSync(cache), [], "nothing of it stays");
  const path = await content.file(hash, [`${origin}/wrong`, `${origin}/right`]);
  assert.equal(readFileSync(path, "utf8"), "the template");
  assert.equal(await content.file(hash, []), path, "asked again, it comes from the cache");
  assert.deepEqual(asked, ["/wrong", "/wrong", "/right"]);
  await assert.rejects(content.file(hashOf("unknown"), []), { code: "unavailable" });
});

test("private addresses are refused however they are written", async () => {
  let asked = 0;
  const origin = await serve((_request, response) => {
    asked++;
    response.end("secret");
  });
  const { port } = new URL(origin);
  const { content } = fetcher();
  const hosts = [
    "127.0.0.1",
    "localhost",
    "0",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::]",
    "[64:ff9b::7f00:1]",
    "[fe80::1]",
    "169.254.169.254",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.1.1",
    "100.64.0.1",
  ];
  for (const host of hosts) {
    await assert.rejects(content.file(hashOf("secret"), [`http://${host}:${port}/`]), { code: "refused" }, host);
  }
  for (const uri of ["ftp://example.org/x", "gopher://x", "data:,secret", "/etc/passwd", "http://user:pw@1.1.1.1/"]) {
    await assert.rejects(content.file(hashOf("secret"), [uri]), { code: "refused" }, uri);
  }
  assert.equal(asked, 0);
  for (const address of ["1.1.1.1", "2606:4700::1111"]) assert.equal(isPublicAddress(address), true, address);
  for (const address of ["2002:7f00:1::", "2001:0:1::", "fc00::1", "ff02::1", "fe80::1%eth0", "nonsense"]) {
    assert.equal(isPublicAddress(address), false, address);
  }
});

test("a name that resolves to a private address is refused, also when only one of several is private", async () => {
  let asked = 0;
  const origin = await serve((_request, response) => {
    asked++;
    response.end("secret");
  });
  const resolve = ((_host: string, _options: object, callback: (error: null, all: object[]) => void) =>
    callback(null, [
      { address: "127.0.0.1", family: 4 },
      { address: "93.184.216.34", family: 4 },
    ])) as never;
  const { content } = fetcher({ resolve });
  const { port } = new URL(origin);
  await assert.rejects(content.file(hashOf("secret"), [`http://public.example:${port}/`]), {
    code: "refused",
    message: /public\.example:\d+ leads to 127\.0\.0\.1/,
  });
  assert.equal(asked, 0);
});

test("redirects are followed a few times, and each is checked as if it were asked for", async () => {
  let secrets = 0;
  const hidden = await serve((_request, response) => {
    secrets++;
    response.end("secret");
  });
  const origin = await serve((request, response) => {
    const [, kind, left] = request.url!.split("/");
    if (kind === "in") response.writeHead(302, { location: `${hidden}/` }).end();
    else if (kind === "file") response.writeHead(302, { location: "file:///etc/passwd" }).end();
    else if (Number(left) === 0) response.end("arrived");
    else response.writeHead(307, { location: `/hop/${Number(left) - 1}` }).end();
  });
  const { content } = fetcher({ trustedOrigins: [origin] });
  await assert.rejects(content.file(hashOf("secret"), [`${origin}/in`]), { code: "refused" });
  await assert.rejects(content.file(hashOf("secret"), [`${origin}/file`]), { code: "refused" });
  assert.equal(secrets, 0);
  await assert.rejects(content.file(hashOf("arrived"), [`${origin}/hop/6`]), { code: "unavailable" });
  await content.file(hashOf("arrived"), [`${origin}/hop/5`]);
});

test("too much is refused, announced or not, and no compressed bomb is unpacked", async () => {
  const origin = await serve((request, response) => {
    if (request.url === "/announced") response.writeHead(200, { "content-length": 1_000_000 }).write("x");
    else if (request.url === "/packed") {
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(Buffer.alloc(1 << 20)));
    } else {
      const timer = setInterval(() => response.write("x".repeat(1_000)), 1);
      response.on("close", () => clearInterval(timer));
    }
  });
  const { cache, content } = fetcher({ trustedOrigins: [origin], maxBytes: 10_000 });
  await assert.rejects(content.file(hashOf("x"), [`${origin}/announced`]), { code: "too_large" });
  await assert.rejects(content.file(hashOf("x"), [`${origin}/endless`]), { code: "too_large" });
  await assert.rejects(content.file(hashOf("x"), [`${origin}/packed`]), { code: "unavailable" });
  assert.deepEqual(readdirSync(cache), []);
});

test("a source that stalls, or trickles for ever, is given up; so is one when its caller gives up", async () => {
  const origin = await serve((request, response) => {
    response.write("x");
    if (request.url !== "/trickle") return;
    const timer = setInterval(() => response.write("x"), 5);
    response.on("close", () => clearInterval(timer));
  });
  const silent = fetcher({ trustedOrigins: [origin], idleTimeout: 50 });
  await assert.rejects(silent.content.file(hashOf("x"), [`${origin}/stall`]), {
    code: "unavailable",
    message: /no byte/,
  });
  const slow = fetcher({ trustedOrigins: [origin], timeout: 100 });
  await assert.rejects(slow.content.file(hashOf("x"), [`${origin}/trickle`]), { code: "unavailable" });
  const signal = AbortSignal.timeout(20);
  const patient = fetcher({ trustedOrigins: [origin] });
  await assert.rejects(patient.content.file(hashOf("x"), [`${origin}/stall`], { signal }), { name: "TimeoutError" });
  assert.deepEqual(readdirSync(patient.cache), []);
});

test("files are read only from folders that were allowed, links followed first", async () => {
  const [open, closed] = [folder(), folder()];
  writeFileSync(join(open, "prompt.txt"), "mine");
  writeFileSync(join(closed, "key.txt"), "secret");
  symlinkSync(join(closed, "key.txt"), join(open, "link.txt"));
  const { content } = fetcher({ folders: [open] });
  const at = (path: string) => pathToFileURL(path).href;
  assert.equal(readFileSync(await content.file(hashOf("mine"), [at(join(open, "prompt.txt"))]), "utf8"), "mine");
  for (const path of [join(closed, "key.txt"), join(open, "link.txt"), `${open}-not/key.txt`, open]) {
    await assert.rejects(content.file(hashOf("secret"), [at(path)]), { code: "refused" }, path);
  }
  const around = `${at(open)}/..%2f${closed.split("/").at(-1)}/key.txt`;
  await assert.rejects(content.file(hashOf("secret"), [around]), { code: "refused" });
});

test("content of IPFS is asked of the gateways in turn; a gateway's other pages are out of reach", async () => {
  const cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
  const asked: string[] = [];
  const gateway = (answers: boolean) =>
    serve((request, response) => {
      asked.push(request.url!);
      if (answers) response.end("pinned");
      else response.writeHead(504).end();
    });
  const [first, second] = [await gateway(false), await gateway(true)];
  const { content } = fetcher({ ipfsGateways: [first, `${second}/`] });
  await content.file(hashOf("pinned"), [`ipfs://${cid}/a b.txt`]);
  assert.deepEqual(asked, [`/ipfs/${cid}/a%20b.txt`, `/ipfs/${cid}/a%20b.txt`]);
  await assert.rejects(content.file(hashOf("x"), [`${second}/api/v0/shutdown`]), { code: "refused" });
  await assert.rejects(content.file(hashOf("x"), [`ipfs://${cid}/../../api`]), { name: "ContentError" });
  assert.ok(asked.every((path) => path.startsWith("/ipfs/")));
});

test("a folder comes file by file under one root, which is the root that training computes", async () => {
  const given = [
    { path: "b/two.md", bytes: bytesOf("two") },
    { path: "a.txt", bytes: bytesOf("one") },
  ];
  const files = given.map(({ path, bytes }) => ({ path, hash: hashOf(bytes), bytes: bytes.length }));
  const root = folderRoot(files);
  assert.equal(root, contentRoot(given));
  const published = folder();
  mkdirSync(join(published, "b"));
  for (const { path, bytes } of given) writeFileSync(join(published, path), bytes);
  writeFileSync(join(published, "content.json"), writeList(files));
  const { content } = fetcher({ folders: [published] });
  const got = await content.folder(root, [pathToFileURL(published).href]);
  assert.deepEqual(
    got.files.map(({ path }) => [path, readFileSync(join(got.path, path), "utf8")]),
    [
      ["a.txt", "one"],
      ["b/two.md", "two"],
    ],
  );
  assert.deepEqual(await content.folder(root, []), got, "from the cache");

  writeFileSync(join(published, "a.txt"), "onE");
  const other = fetcher({ folders: [published] });
  await assert.rejects(other.content.folder(root, [pathToFileURL(published).href]), { code: "wrong_hash" });
  writeFileSync(join(published, "a.txt"), "one and more than the list says");
  await assert.rejects(other.content.folder(root, [pathToFileURL(published).href]), { code: "too_large" });
  assert.deepEqual(readdirSync(other.cache), []);
});

test("a list of files cannot write outside its folder, nor one path over another", () => {
  const listed = (...paths: string[]) => {
    const files = paths.map((path) => ({ path, hash: hashOf(path), bytes: 1 }));
    return () => readList(writeList(files), folderRoot(files));
  };
  assert.equal(listed("a", "b/c")().length, 2);
  for (const path of ["../a", "/etc/passwd", "a/../b", "a//b", "a\\..\\b", "c:a", ".ssh", "a\u0000", "a/", "", "a."]) {
    assert.throws(listed(path), { code: "refused" }, JSON.stringify(path));
    assert.equal(isSafePath(path), false);
  }
  assert.throws(listed("a", "a"), { code: "refused" });
  assert.throws(listed("a", "a/b"), { code: "refused" });
  for (const text of ["", "null", "{}", '{"files":[]}', '{"files":[{"path":1}]}', "[".repeat(100_000)]) {
    assert.throws(() => readList(text, hashOf("")), { code: "wrong_hash" });
  }
});

test("an adapter comes under the hash by which the engine knows it", async () => {
  const published = folder();
  writeFileSync(join(published, "adapter_config.json"), '{"r":8}');
  writeFileSync(join(published, "adapter_model.safetensors"), Buffer.alloc(100_000, 7));
  const hash = `0x${adapterHash(published)}` as const;
  const { content } = fetcher({ folders: [published] });
  const path = await content.adapter(hash, [pathToFileURL(published).href]);
  assert.equal(adapterHash(path), hash.slice(2));
  writeFileSync(join(published, "adapter_config.json"), '{"r":9}');
  const other = fetcher({ folders: [published] });
  await assert.rejects(other.content.adapter(hash, [pathToFileURL(published).href]), { code: "wrong_hash" });
  assert.equal(existsSync(join(other.cache, hash.slice(2))), false);
});

test("several that want the same at once all get it", async () => {
  const origin = await serve((_request, response) => {
    setTimeout(() => response.end("shared"), 10);
  });
  const { cache, content } = fetcher({ trustedOrigins: [origin] });
  const paths = await Promise.all(Array.from({ length: 8 }, () => content.file(hashOf("shared"), [`${origin}/`])));
  assert.equal(new Set(paths).size, 1);
  assert.deepEqual(readdirSync(cache), [hashOf("shared").slice(2)]);
});
