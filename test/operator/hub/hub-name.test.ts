import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { parseHubName, placeOf } from "../../../operator/hub/hub-name.ts";

describe("a model's place", () => {
  const folder = mkdtempSync(join(tmpdir(), "openledger-place-"));
  after(() => rmSync(folder, { recursive: true }));

  it("is a hub's where it is a name and a revision at most", () => {
    const known: [string, string, string | undefined][] = [
      ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", undefined],
      ["HuggingFaceTB/SmolLM2-135M-Instruct@main", "HuggingFaceTB/SmolLM2-135M-Instruct", "main"],
      ["a/b_c.d@refs/pr/1", "a/b_c.d", "refs/pr/1"],
      [`_a/b@${"0".repeat(40)}`, "_a/b", "0".repeat(40)],
    ];
    for (const [text, id, revision] of known) {
      const { hub } = placeOf(text, folder) as { hub: ReturnType<typeof parseHubName> };
      assert.deepEqual([hub?.id, hub?.revision], [id, revision], text);
    }
  });

  it("is never a hub's where the name could be something else, or lead anywhere", () => {
    const texts = ["gpt2", "a/b/c", "", "a/", "/b", "a//b", "a b/c", "a/b@", "a/b@../c", "a/b@-x", "a/b@x y", "a/b@/x"];
    texts.push("a/..", "../b", "a/.b", "-a/b", "a/b-", "a/b--c", "a/b..c", "a/b.git", "a\\b/c", `a/${"b".repeat(97)}`);
    texts.push("https://a/b", "vllm+http://a:8000", "C:/b", "a/b\n", "a/b@x\0", "ä/b", "a/b@x@y");
    for (const text of texts) assert.equal(parseHubName(text), undefined, JSON.stringify(text));
  });

  it("is a folder where one exists, or where it looks like a path", () => {
    mkdirSync(join(folder, "models", "mine"), { recursive: true });
    assert.deepEqual(placeOf("models/mine", folder), { folder: join(folder, "models", "mine") });
    assert.ok("hub" in placeOf("models/other", folder));
    for (const text of ["./models/other", "../other", "/models/other", "~/models"]) {
      assert.ok("folder" in placeOf(text, folder), text);
    }
  });
});
