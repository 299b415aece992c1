import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram, renderPrometheus } from "../../../operator/engine/metrics.ts";

test("families are written in the Prometheus text format, buckets cumulative and labels escaped", () => {
  const histogram = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 3]) histogram.observe(value);
  const text = renderPrometheus([
    { name: "a_total", type: "counter", help: "Line\nbreak.", samples: [{ labels: { x: 'q"\\\n' }, value: 2 }] },
    { name: "b", type: "histogram", help: "Times.", samples: [histogram.sample({ y: "z" })] },
  ]);
  assert.equal(
    text,
    [
      "# HELP a_total Line\\nbreak.",
      "# TYPE a_total counter",
      'a_total{x="q\\"\\\\\\n"} 2',
      "# HELP b Times.",
      "# TYPE b histogram",
      'b_bucket{y="z",le="0.1"} 2',
      'b_bucket{y="z",le="1"} 3',
      'b_bucket{y="z",le="+Inf"} 4',
      'b_sum{y="z"} 3.65',
      'b_count{y="z"} 4',
      "",
    ].join("\n"),
  );
});
