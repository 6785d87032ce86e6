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
  /** Standard output (or standard error), as bytes; resolves when there is room for more. */
  outBytes(bytes: Uint8Array, to?: "stdout" | "stderr"): Promise<void>;
  /** Standard input, whole. */
  readInput(): Promise<Uint8Array>;
  /** Standard input as it comes; undefined when it is a terminal. */
  inputStream(): Input | undefined;
  /** The terminal that standard input and output are; undefined when one of them is none. */
  terminal(): Promise<Terminal | undefined>;
  /** Calls `listener` with each signal that swarmctl gets, instead of what it does to it otherwise; returns how to stop that. */
  onSignal(listener: (signal: number) => void): Promise<() => void>;
  /** A line of standard input, after `prompt` on a terminal; empty at its end. */
  readLine(prompt: string): Promise<string>;
  /** A line of standard input that is not shown while it is typed, after `prompt` on a terminal. */
  readSecret(prompt: string): Promise<string>;
  /** Width of the terminal that standard output is, on which progress is drawn over; undefined when it is none. */
  readonly columns: number | undefined;
  /** False with `--no-resolve`: ids are shown instead of names. */
  readonly resolveNames: boolean;
}

/** A terminal whose keys a program elsewhere gets. */
export interface Terminal {
  readonly size: { readonly rows: number; readonly columns: number };
  /** Calls `listener` when the size changes; returns how to stop that. */
  onResize(listener: () => void): () => void;
  /** Keys as they are typed, Ctrl-C too; returns how to go back. */
  raw(): () => void;
  readonly keys: Input;
}

/** Bytes as they come. A reader who stops before their end destroys it, lest the process waits for more. */
export type Input = AsyncIterable<Uint8Array> & { destroy?(): unknown };
