/** A document of a contribution, its bytes already checked against the registered hash. */
export interface ContributedDocument {
  /** Path inside the contribution, `/` between folders. */
  readonly path: string;
  readonly mediaType?: string;
  /** The bytes, or how to get them when their turn comes. */
  readonly bytes: Uint8Array | (() => Promise<Uint8Array>);
}

/** One accepted contribution of a DataNet version. */
export interface AcceptedContribution {
  /** Id in the protocol's space, ascending in order of registration. */
  readonly contribution: number;
  readonly documents: readonly ContributedDocument[];
}

/** A pinned DataNet version and all contributions accepted in it. */
export interface DataNetVersion {
  readonly dataNet: number;
  readonly version: number;
  readonly contributions: readonly AcceptedContribution[];
}

/** Turns texts into vectors of one length; the same text always gives the same vector. */
export interface EmbeddingFunction {
  /** Name and version: an index remembers it and refuses another. */
  readonly name: string;
  readonly dimensions: number;
  embed(texts: readonly string[]): Promise<readonly Float32Array[]>;
}
