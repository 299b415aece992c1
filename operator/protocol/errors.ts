/** What all errors of the protocol code have in common: a short message and where the rule stands. */
export class ProtocolError extends Error {
  constructor(message: string, section: string) {
    super(`${message} (docs/protocol.md, section ${section})`);
    this.name = new.target.name;
  }
}

/** Bytes that do not follow their format. */
export class MalformedBytes extends ProtocolError {
  constructor(reason: string, section = "1") {
    super(`Malformed bytes: ${reason}`, section);
  }
}

/** A composition that no agent version may have. */
export class InvalidComposition extends ProtocolError {
  constructor(reason: string) {
    super(`Invalid composition: ${reason}`, "4");
  }
}

/** A proof that does not have the form its indices ask for. */
export class MalformedProof extends ProtocolError {
  constructor(reason: string) {
    super(`Malformed proof: ${reason}`, "7");
  }
}
