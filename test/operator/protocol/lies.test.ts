import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openData, replayBatch } from "../../../operator/protocol/replay.ts";
import { verdictName } from "../../../operator/protocol/verdict.ts";
import { openStory, tellBatch } from "./jobs.ts";
import { tellLie } from "./liar.ts";
import { LIES } from "./lies.ts";
import { contextOf, createWorld } from "./world.ts";

describe("a lie in a batch", () => {
  const story = openStory(createWorld({ seed: 7 }));
  tellBatch(story, 5);
  for (const lie of LIES) {
    it(`is found at its place and named: ${lie.name} (${verdictName(lie.verdict)})`, () => {
      for (const [before, after] of [
        [2, 2],
        [0, 1],
        [3, 0],
      ]) {
        const told = tellLie(story, lie, { before, after });
        const opened = openData(told.batch.header, told.batch.data);
        assert.ok(opened, "the liar publishes what it committed to");
        const { wrong } = replayBatch(told.before, opened, contextOf(story.world));
        assert.ok(wrong, "nothing was found");
        assert.equal(verdictName(wrong.step.verdict), verdictName(lie.verdict));
        assert.equal(wrong.index, told.index);
      }
    });
  }
});
