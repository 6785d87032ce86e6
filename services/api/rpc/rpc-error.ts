import { Metadata, type ServiceError, type status } from "@grpc/grpc-js";
import { Code, SwarmError } from "@starling/base";

/** Any thrown value as what grpc-js sends. The one place where a SwarmError becomes a gRPC status. */
export function toServiceError(thrown: unknown): ServiceError {
  const error = SwarmError.from(thrown);
  const code = Code[error.code] as status;
  return Object.assign(new Error(error.message), { code, details: error.message, metadata: new Metadata() });
}

/** A gRPC error as the client's caller sees it. */
export function fromServiceError(thrown: unknown): SwarmError {
  const error = SwarmError.from(thrown);
  // grpc-js: "No connection established. Last error: Error: connect ECONNREFUSED 10.0.0.5:4242. Resolution note: "
  const [, cause] =
    /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note: /.exec(error.message) ?? [];
  return cause === undefined ? error : new SwarmError(error.code, `no connection: ${cause}`, { cause: thrown });
}
