/** Sketched gradients, visited in order as often as needed. */
export interface GradientSource {
  readonly count: number;
  forEach(visit: (gradient: Float32Array, index: number) => void): void;
}

/** How much each training document helped an answer, by three measures; positive helped, negative harmed. */
export interface InfluenceScores {
  readonly dataInf: Float64Array;
  /** Cosine of the two gradients. */
  readonly cosine: Float64Array;
  /** Plain product of the two gradients (one step of TracIn, Pruthi et al. 2020). */
  readonly product: Float64Array;
}

/**
 * Influence by DataInf (Kwon, Wu, Wu, Zou: "DataInf: Efficiently Estimating Data Influence in LoRA-tuned LLMs and
 * Diffusion Models", ICLR 2024, eq. 5), whose inverse Hessian is a mean of inverses of rank-one matrices and so has a
 * closed form per matrix l:
 *
 * score(k) = Σ_l 1/λ_l · ( v_l·g_kl − 1/n Σ_i (v_l·g_il)(g_il·g_kl) / (λ_l + |g_il|²) ),  λ_l = 0.1 · mean_i |g_il|² / d_l
 *
 * with v the gradient of the answer's loss, g_i those of the n training documents. The paper's influence is the change
 * of the answer's loss when a document gets more weight; this is minus that, so that positive means helped. Time and
 * memory are linear in documents: the sum over i is one vector per matrix.
 *
 * λ follows the paper's §5 with d_l the matrix' number of parameters.
 */
export class DataInf {
  private readonly source: GradientSource;
  private readonly starts: readonly number[];
  /** |g_il|² `[documents, matrices]`. */
  private readonly squares: Float64Array;
  private readonly damping: Float64Array;

  /**
   * @param starts where each matrix' block starts in a gradient, and the end of the last.
   * @param sizes parameters of each matrix, before sketching.
   */
  constructor(source: GradientSource, starts: readonly number[], sizes: readonly number[]) {
    this.source = source;
    this.starts = starts;
    const matrices = sizes.length;
    this.squares = new Float64Array(source.count * matrices);
    this.damping = new Float64Array(matrices);
    source.forEach((gradient, i) => {
      for (let l = 0; l < matrices; l++) {
        const square = dot(gradient, gradient, starts[l], starts[l + 1]);
        this.squares[i * matrices + l] = square;
        this.damping[l] += (0.1 * square) / (source.count * sizes[l]);
      }
    });
  }

  /** Scores every document against the gradient of an answer's loss. */
  score(answer: Float32Array): InfluenceScores {
    const { source, starts, squares, damping } = this;
    const matrices = damping.length;
    const count = source.count;
    const product = new Float64Array(count);
    const cosine = new Float64Array(count);
    const dataInf = new Float64Array(count);
    const aligned = new Float64Array(count * matrices);
    const pull = new Float64Array(answer.length);
    const answerLength = Math.sqrt(dot(answer, answer, 0, answer.length));
    source.forEach((gradient, i) => {
      let square = 0;
      for (let l = 0; l < matrices; l++) {
        const at = i * matrices + l;
        const along = dot(answer, gradient, starts[l], starts[l + 1]);
        aligned[at] = along;
        product[i] += along;
        square += squares[at];
        const share = along / (damping[l] + squares[at]) / count;
        if (share !== 0) for (let j = starts[l]; j < starts[l + 1]; j++) pull[j] += share * gradient[j];
      }
      const length = answerLength * Math.sqrt(square);
      cosine[i] = length === 0 ? 0 : product[i] / length;
    });
    source.forEach((gradient, k) => {
      for (let l = 0; l < matrices; l++) {
        // A matrix that no document moved has no say.
        if (damping[l] === 0) continue;
        const explained = dot(pull, gradient, starts[l], starts[l + 1]);
        dataInf[k] += (aligned[k * matrices + l] - explained) / damping[l];
      }
    });
    return { dataInf, cosine, product };
  }
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += a[i] * b[i];
  return sum;
}
