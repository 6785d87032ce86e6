/** Pure: no clock, no I/O, no randomness. */

/** gRPC status codes (grpc/grpc doc/statuscodes.md). */
export const Code = {
  Ok: 0,
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type CodeName = keyof typeof Code;

const namesByCode = new Map<number, CodeName>(Object.entries(Code).map(([name, code]) => [code, name as CodeName]));

/** `3` → `"InvalidArgument"`; numbers that gRPC does not define give `"Unknown"`. */
export function codeName(code: number): CodeName {
  return namesByCode.get(code) ?? "Unknown";
}

/** An operation that failed, in words for its user. Edges map it once: gRPC status, HTTP status, exit code. */
export class SwarmError extends Error {
  override readonly name = "SwarmError";
  readonly code: CodeName;

  constructor(code: CodeName, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** Any thrown value as a SwarmError: gRPC errors keep their code and details, aborts become Cancelled, the rest Internal. */
  static from(thrown: unknown): SwarmError {
    if (thrown instanceof SwarmError) return thrown;
    if (thrown instanceof Error) {
      const grpc = thrown as Error & { readonly code?: unknown; readonly details?: unknown };
      if (typeof grpc.code === "number" && typeof grpc.details === "string") {
        return new SwarmError(codeName(grpc.code), grpc.details, { cause: thrown });
      }
      if (thrown.name === "AbortError") return new SwarmError("Cancelled", "cancelled", { cause: thrown });
      return new SwarmError("Internal", thrown.message, { cause: thrown });
    }
    return new SwarmError("Internal", String(thrown));
  }
}
