import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { readDataNetFolder } from "../../../../operator/training/data/data-net-folder.ts";
import { readDocuments } from "../../../../operator/training/data/documents.ts";

const root = mkdtempSync(join(tmpdir(), "datanet-"));
after(() => rmSync(root, { recursive: true }));
let next = 0;

function folderOf(files: Record<string, string | Uint8Array>): string {
  const folder = join(root, String(next++));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

const CHAT = JSON.stringify({
  messages: [
    { role: "user", content: "q" },
    { role: "assistant", content: "a" },
  ],
});

describe("readDataNetFolder", () => {
  it("reads ids, version and contributions from datanet.json", () => {
    const folder = folderOf({
      "datanet.json": JSON.stringify({
        id: 7,
        version: 3,
        name: "harbours",
        contributions: [
          { id: 12, contributor: "Ada", path: "one" },
          { contributor: "Boris", path: "two" },
        ],
      }),
      "one/a.md": "text",
      "two/b.txt": "text",
    });
    const net = readDataNetFolder(folder);
    assert.deepEqual([net.id, net.version, net.name], [7, 3, "harbours"]);
    assert.deepEqual(
      net.contributions.map(({ id, contributor }) => [id, contributor]),
      [
        [12, "Ada"],
        [0, "Boris"],
      ],
    );
  });

  it("takes every folder inside as a contribution where there is no datanet.json", () => {
    const net = readDataNetFolder(folderOf({ "boris/x.txt": "b", "ada/deep/y.md": "a", ".git/z.txt": "hidden" }));
    assert.deepEqual(
      net.contributions.map(({ contributor, files }) => [contributor, files.map(({ path }) => path)]),
      [
        ["ada", ["deep/y.md"]],
        ["boris", ["x.txt"]],
      ],
    );
  });

  it("gives the same content root for the same files, and another for a renamed or changed one", () => {
    const rootOf = (files: Record<string, string>) => readDataNetFolder(folderOf(files)).contributions[0].contentRoot;
    const first = rootOf({ "a.txt": "1", "b.txt": "2" });
    assert.equal(rootOf({ "b.txt": "2", "a.txt": "1" }), first);
    assert.notEqual(rootOf({ "a.txt": "2", "b.txt": "1" }), first);
    assert.notEqual(rootOf({ "a.txt": "1", "c.txt": "2" }), first);
  });

  it("refuses contributions that lead outside the folder or hold nothing to train on", () => {
    const manifest = (path: string) => JSON.stringify({ name: "n", contributions: [{ contributor: "Eve", path }] });
    assert.throws(() => readDataNetFolder(folderOf({ "datanet.json": manifest("../0") })), /outside the folder/);
    assert.throws(
      () => readDataNetFolder(folderOf({ "datanet.json": manifest("a"), "a/image.png": "x" })),
      /holds no .jsonl, .md or .txt/,
    );
    assert.throws(() => readDataNetFolder(join(root, "absent")), /is not a folder/);
  });
});

describe("readDocuments", () => {
  it("takes each line of .jsonl and each other file as a document, in order", () => {
    const pair = JSON.stringify({ prompt: "p", completion: "c" });
    const documents = readDocuments(
      readDataNetFolder(folderOf({ "ada/b.jsonl": `${CHAT}\n\n${pair}\n`, "ada/a.md": "# Title", "boris/c.txt": "t" })),
    );
    assert.deepEqual(
      documents.map(({ contribution, place, content }) => [contribution, place, content.kind]),
      [
        [0, "a.md", "text"],
        [0, "b.jsonl:1", "chat"],
        [0, "b.jsonl:3", "pair"],
        [1, "c.txt", "text"],
      ],
    );
  });

  it("names file and line of what it cannot use", () => {
    const read = (line: string | Uint8Array) => () =>
      readDocuments(readDataNetFolder(folderOf({ "ada/x.jsonl": line })));
    assert.throws(read(`${CHAT}\n{`), /ada\/x\.jsonl:2 is not JSON/);
    assert.throws(read("[1]"), /x\.jsonl:1 is not a JSON object/);
    assert.throws(read('{"question": "?"}'), /neither messages, nor prompt and completion, nor text/);
    assert.throws(read('{"messages": [{"role": "user", "content": "q"}]}'), /no assistant message/);
    assert.throws(read('{"messages": [{"role": "user"}]}'), /without role and content/);
    assert.throws(read(Uint8Array.of(0xff, 0xfe)), /not UTF-8/);
  });
});
