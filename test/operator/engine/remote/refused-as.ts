import assert from "node:assert/strict";
import { EngineError } from "../../../../operator/engine/engine-error.ts";

/** For `assert.rejects`: an `EngineError` of this code, its message in view when it is another. */
export function refusedAs(code: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof EngineError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}
