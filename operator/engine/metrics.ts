/** One time series of a counter or gauge, or one histogram with cumulative buckets, as Prometheus counts them. */
export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  /** Counter or gauge value; for a histogram the number of observations. */
  readonly value: number;
  /** Histogram only: observations at or below each bound, ascending, without the infinite one. */
  readonly buckets?: readonly { readonly le: number; readonly count: number }[];
  /** Histogram only. */
  readonly sum?: number;
}

export interface MetricFamily {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly MetricSample[];
}

/** Writes families in the Prometheus text format, version 0.0.4. */
export function renderPrometheus(families: readonly MetricFamily[]): string {
  const lines: string[] = [];
  for (const family of families) {
    lines.push(`# HELP ${family.name} ${family.help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`);
    lines.push(`# TYPE ${family.name} ${family.type}`);
    for (const sample of family.samples) {
      if (family.type !== "histogram") {
        lines.push(`${family.name}${labelText(sample.labels)} ${sample.value}`);
        continue;
      }
      for (const { le, count } of sample.buckets ?? []) {
        lines.push(`${family.name}_bucket${labelText({ ...sample.labels, le: String(le) })} ${count}`);
      }
      lines.push(`${family.name}_bucket${labelText({ ...sample.labels, le: "+Inf" })} ${sample.value}`);
      lines.push(`${family.name}_sum${labelText(sample.labels)} ${sample.sum ?? 0}`);
      lines.push(`${family.name}_count${labelText(sample.labels)} ${sample.value}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(
    ([key, value]) => `${key}="${value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`,
  );
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

/** Counts observations into fixed bounds (ascending). */
export class Histogram {
  readonly bounds: readonly number[];
  private readonly counts: number[];
  private sum = 0;
  private total = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.total++;
    this.sum += value;
    const at = this.bounds.findIndex((bound) => value <= bound);
    if (at >= 0) this.counts[at]++;
  }

  sample(labels: Readonly<Record<string, string>> = {}): MetricSample {
    let running = 0;
    const buckets = this.bounds.map((le, i) => ({ le, count: (running += this.counts[i]) }));
    return { labels, value: this.total, sum: this.sum, buckets };
  }
}

/** Bucket bounds in seconds that fit both a first token on two cores and a gap between tokens on a fast device. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 20, 40, 80,
];
