/** A named array of numbers inside a flat buffer. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** First element in the flat buffer. */
  readonly offset: number;
  readonly size: number;
}

/**
 * Where each parameter stands in one flat float32 buffer. Weights, gradients and the optimiser's moments are such
 * buffers with one layout: a step is a loop over arrays, a checkpoint is a copy of them.
 */
export class ParameterLayout {
  readonly parameters: readonly Parameter[];
  /** Elements of a buffer with this layout. */
  readonly size: number;
  private readonly byName: ReadonlyMap<string, Parameter>;

  constructor(shapes: Iterable<readonly [name: string, shape: readonly number[]]>) {
    let offset = 0;
    this.parameters = [...shapes].map(([name, shape]) => {
      const size = shape.reduce((total, dim) => total * dim, 1);
      const parameter = { name, shape, offset, size };
      offset += size;
      return parameter;
    });
    this.size = offset;
    this.byName = new Map(this.parameters.map((parameter) => [parameter.name, parameter]));
  }

  /** The part of `buffer` that belongs to `name`, without a copy. @throws on an unknown name. */
  view(buffer: Float32Array, name: string): Float32Array {
    const parameter = this.byName.get(name);
    if (parameter === undefined) throw new Error(`There is no parameter ${name}.`);
    return buffer.subarray(parameter.offset, parameter.offset + parameter.size);
  }
}
