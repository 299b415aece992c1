import assert from "node:assert/strict";
import { it } from "node:test";
import { serveHealth } from "../../../operator/node/health-server.ts";

it("a health port answers whatever it is asked, and when a part cannot tell how it is", async (t) => {
  let isBroken = false;
  const report = () => {
    if (isBroken) throw new Error("the journal is closed");
    return { alarms: ["Look here."] };
  };
  const server = await serveHealth([{ report }], { host: "127.0.0.1", port: 0 });
  t.after(() => server.close());
  const status = async (path: string) => (await fetch(`${server.url}${path}`)).status;
  assert.equal(await status("//"), 404);
  assert.equal(await status("/nothing"), 404);
  assert.deepEqual((await (await fetch(`${server.url}/health?probe=1`)).json()).alarms, ["Look here."]);
  isBroken = true;
  assert.equal(await status("/health"), 500);
  assert.equal(await status("/health/live"), 200);
});
