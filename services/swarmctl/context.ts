import type { Clock } from "@starling/base/clock";
import type { GrpcClient } from "./client/grpc-client.ts";

/** What a command works with; made once per process, or by a test. */
export interface Context {
  /** The manager; connects at the first call. */
  readonly client: GrpcClient;
  readonly clock: Clock;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
  /** Standard output; whoever reads it may go away (`| head`). */
  out(text: string): void;
  /** Standard error: progress notes and warnings. */
  err(text: string): void;
  /** Standard output, as bytes; resolves when there is room for more. */
  outBytes(bytes: Uint8Array): Promise<void>;
  /** Standard input, whole. */
  readInput(): Promise<Uint8Array>;
  /** Standard input as it comes; undefined when it is a terminal. */
  inputStream(): AsyncIterable<Uint8Array> | undefined;
  /** A line of standard input, after `prompt` on a terminal; empty at its end. */
  readLine(prompt: string): Promise<string>;
  /** A line of standard input that is not shown while it is typed, after `prompt` on a terminal. */
  readSecret(prompt: string): Promise<string>;
  /** Width of the terminal that standard output is, on which progress is drawn over; undefined when it is none. */
  readonly columns: number | undefined;
  /** False with `--no-resolve`: ids are shown instead of names. */
  readonly resolveNames: boolean;
}
