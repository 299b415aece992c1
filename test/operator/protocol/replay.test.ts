import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openData, replayBatch } from "../../../operator/protocol/replay.ts";
import { stateRoot, summarise } from "../../../operator/protocol/state.ts";
import { openStory, tellBatch } from "./jobs.ts";
import { contextOf, createWorld } from "./world.ts";

describe("replaying a batch", () => {
  it("finds nothing wrong with honest batches and arrives at the header's state", () => {
    for (let seed = 0; seed < 6; seed++) {
      const story = openStory(createWorld({ seed }));
      for (const count of [1, 7, 33]) {
        const { batch, before, after } = tellBatch(story, count);
        const opened = openData(batch.header, batch.data);
        assert.ok(opened);
        const replay = replayBatch(before, opened, contextOf(story.world));
        assert.ok(replay.after, `seed ${seed}: verdict ${replay.wrong?.step.verdict} at ${replay.wrong?.index}`);
        assert.deepEqual(stateRoot(summarise(replay.after)), stateRoot(batch.header.state));
        assert.deepEqual(summarise(replay.after), summarise(after));
      }
    }
  });
});
