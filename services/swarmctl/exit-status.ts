/** Pure: no clock, no I/O, no randomness. */

/** Ends swarmctl with this code, e.g. that of a program which it has run elsewhere. An empty message prints nothing. */
export class ExitStatus extends Error {
  override readonly name = "ExitStatus";
  readonly code: number;

  constructor(code: number, message = "") {
    super(message);
    this.code = code;
  }
}
