import assert from "node:assert/strict";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cacheHome } from "../../../operator/engine/cache-home.ts";

test("what can be fetched again lies where XDG says, and never where this program happens to be started", () => {
  const before = process.env.XDG_CACHE_HOME;
  try {
    for (const [given, folder] of [
      ["/somewhere", "/somewhere"],
      ["", join(homedir(), ".cache")],
      ["relative/path", join(homedir(), ".cache")],
    ]) {
      process.env.XDG_CACHE_HOME = given;
      assert.equal(cacheHome(), join(folder, "openledger"));
    }
  } finally {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  }
});
