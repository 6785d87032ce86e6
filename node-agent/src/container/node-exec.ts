import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ExecNotStarted,
  type ExecRequest,
  ExecResponse,
  type ExecSize,
  type ExecStart,
  ExecStarted,
  type NodeExec,
} from "@starling/api";
import { SwarmError } from "@starling/base";
import { type BundleSpec, type ProcessSpec, ShimError, type ShimStream, startProgram } from "@starling/native";
import type { NodeHandlers } from "../calls/node-service.ts";
import { allCapabilities } from "./privileges.ts";

/** For arguments and environment together: what the kernel takes for one program, roughly. */
const wordBytesMax = 128 << 10;
const sizeMax = 9_999;
const signalMax = 64;

export interface ProgramOptions {
  readonly stdin: boolean;
  /** Without streams: it outlives the stream that is returned. */
  readonly detached: boolean;
  /** With every capability and no filter. */
  readonly privileged: boolean;
}

/** Starts a program in a task's container; rejects with ShimError when it cannot be run. */
export type StartProgram = (taskId: string, process: ProcessSpec, options: ProgramOptions) => Promise<ShimStream>;

/** Answers `starling.v1.NodeExec`, which managers ask of this node. */
export function nodeExecHandlers(startIn: StartProgram): NodeHandlers<typeof NodeExec> {
  return {
    async *exec(requests, signal) {
      const iterator = requests[Symbol.asyncIterator]();
      const first = await iterator.next();
      const start = checked(first.done ? undefined : first.value.start);
      let program: ShimStream;
      try {
        const { stdin, detach: detached, privileged } = start;
        program = await startIn(start.taskId, processOf(start), { stdin, detached, privileged });
      } catch (thrown) {
        if (!(thrown instanceof ShimError)) throw thrown;
        yield ExecResponse.create({ notStarted: notStarted(thrown) });
        return;
      }
      const onLeft = () => program.close();
      signal.addEventListener("abort", onLeft, { once: true });
      if (signal.aborted) program.close();
      try {
        yield ExecResponse.create({ started: ExecStarted.create() });
        if (start.detach) return;
        void feed(program, iterator, start);
        for await (const { stream, data } of program.output()) yield ExecResponse.create({ [stream]: data });
        if (!signal.aborted) yield ExecResponse.create({ exitCode: await exitCodeOf(program) });
      } finally {
        signal.removeEventListener("abort", onLeft);
        program.close();
      }
    },
  };
}

/**
 * Runs a program in the container of a bundle, with the container's environment and `process.env` on top. Throws NotFound when
 * there is no such container, ShimError when the program cannot be run.
 */
export async function startInContainer(
  bundle: string,
  process: ProcessSpec,
  options: ProgramOptions,
): Promise<ShimStream> {
  let text: string;
  try {
    text = await readFile(join(bundle, "spec.json"), "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
    throw new SwarmError("NotFound", `the task has no container on this node`);
  }
  const { process: container } = JSON.parse(text) as BundleSpec;
  const own = container.env ?? [];
  const terminal = process.tty ? ["TERM=xterm"] : [];
  const env = new Map([...terminal, ...own, ...(process.env ?? [])].map((each) => [each.split("=", 1)[0], each]));
  const rights = options.privileged ? allRights(container) : {};
  return await startProgram(bundle, { ...process, ...rights, env: [...env.values()] }, options);
}

/** What a program of a container may, as docker's `exec --privileged` has it. */
function allRights({ appArmorProfile }: ProcessSpec): Partial<ProcessSpec> {
  return {
    capabilities: allCapabilities.map((name) => `CAP_${name}`),
    noNewPrivileges: false,
    seccomp: false,
    ...(appArmorProfile && { appArmorProfile: "unconfined" }),
  };
}

/** What the caller sends, until one of both ends. Never rejects: how the program ends is told by its output. */
async function feed(program: ShimStream, requests: AsyncIterator<ExecRequest>, start: ExecStart): Promise<void> {
  let reads = start.stdin;
  try {
    for (;;) {
      const { done, value } = await requests.next();
      if (done || value.stdinEnd !== undefined) {
        if (reads) await ignoringEnd(program.end());
        reads = false;
        if (done) return;
      } else if (value.stdin !== undefined) {
        // A program that has closed its input goes on without.
        reads = reads && (await ignoringEnd(program.write(value.stdin)));
      } else if (value.resize !== undefined) await ignoringEnd(program.resize(checkedSize(value.resize)));
      else if (value.signal !== undefined) await ignoringEnd(program.signal(checkedSignal(value.signal)));
    }
  } catch {
    // The caller went away, or sent what makes no sense: the program loses its streams.
    program.close();
  }
}

/** False when the program, or what was done with it, has ended. */
async function ignoringEnd(done: Promise<void>): Promise<boolean> {
  try {
    await done;
    return true;
  } catch (thrown) {
    if (!(thrown instanceof ShimError)) throw thrown;
    return false;
  }
}

async function exitCodeOf(program: ShimStream): Promise<number> {
  try {
    return await program.exitCode;
  } catch (thrown) {
    if (!(thrown instanceof ShimError)) throw thrown;
    throw new SwarmError("Unavailable", "the container ended, and the program with it", { cause: thrown });
  }
}

function processOf({ args, env, workingDir, user, tty, size }: ExecStart): ProcessSpec {
  return {
    args,
    tty,
    ...(tty && size && { rows: size.rows, columns: size.columns }),
    ...(env.length > 0 && { env }),
    ...(workingDir !== "" && { cwd: workingDir }),
    ...(user !== "" && { user }),
  };
}

function notStarted({ message }: ShimError): ExecNotStarted {
  const exitCode = /not found in \$PATH|no such file or directory|ENOENT/i.test(message) ? 127 : 126;
  return ExecNotStarted.create({ exitCode, reason: message });
}

/** Throws InvalidArgument naming the field. */
function checked(start: ExecStart | undefined): ExecStart {
  if (start === undefined) throw new SwarmError("InvalidArgument", "the first request must be a start");
  const { taskId, args, env, workingDir, user } = start;
  // It becomes part of a path.
  if (!/^[a-z0-9]{1,64}$/.test(taskId)) throw new SwarmError("InvalidArgument", `task_id ${JSON.stringify(taskId)}`);
  if (args.length === 0 || args[0] === "") throw new SwarmError("InvalidArgument", "args: name a program to run");
  const words = [...args, ...env, workingDir, user];
  if (words.some((word) => word.includes("\0"))) throw new SwarmError("InvalidArgument", "args: a NUL byte");
  if (words.reduce((sum, word) => sum + Buffer.byteLength(word) + 1, 0) > wordBytesMax) {
    throw new SwarmError("InvalidArgument", `args and env: over ${wordBytesMax} bytes together`);
  }
  if (start.detach && (start.tty || start.stdin)) {
    throw new SwarmError("InvalidArgument", "detach: a detached program has neither a terminal nor standard input");
  }
  const bad = env.find((each) => !/^[^=]+=/.test(each));
  if (bad !== undefined) throw new SwarmError("InvalidArgument", `env ${JSON.stringify(bad)}: write NAME=value`);
  return start.size ? { ...start, size: checkedSize(start.size) } : start;
}

function checkedSize({ rows, columns }: ExecSize): ExecSize {
  if (rows > sizeMax || columns > sizeMax) throw new SwarmError("InvalidArgument", `size: over ${sizeMax}`);
  return { rows, columns };
}

function checkedSignal(signal: number): number {
  if (signal < 1 || signal > signalMax) throw new SwarmError("InvalidArgument", `signal ${signal}: there is none`);
  return signal;
}
