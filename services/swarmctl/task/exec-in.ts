import { ExecInputEnd, ExecRequest, type ExecResponse, ExecSize, ExecStart, NodeExec, type Task } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { callNode } from "../client/node-call.ts";
import type { FlagDefinition } from "../command.ts";
import type { Context, Input, Terminal } from "../context.ts";
import { ExitStatus } from "../exit-status.ts";
import { UsageError } from "../usage-error.ts";

export interface ExecFlags {
  readonly detach?: boolean;
  readonly privileged?: boolean;
  readonly env?: readonly string[];
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly user?: string;
  readonly workdir?: string;
}

export const execFlags: readonly FlagDefinition[] = [
  { flags: "-d, --detach", help: "Return when the command has started; its output goes nowhere" },
  { flags: "--privileged", help: "Every capability and no filter, whatever the container has" },
  { flags: "-e, --env <name=value>", help: "Environment variable, besides the container's", list: true },
  { flags: "-i, --interactive", help: "Feed standard input to the command" },
  { flags: "-t, --tty", help: "Give the command a terminal" },
  { flags: "-u, --user <user[:group]>", help: "User in the container" },
  { flags: "-w, --workdir <path>", help: "Working directory in the container" },
];

export const execNotes =
  "Exits with the command's exit code; 126 when it cannot be run, 127 when there is none, 1 when swarmctl fails itself.";

/** Bytes of standard input in one message. */
const pieceBytes = 64 << 10;

/** Runs `command` in the task's container, with this process's streams. Throws ExitStatus with its exit code unless that is 0. */
export async function execIn(
  context: Context,
  task: Task,
  command: readonly string[],
  flags: ExecFlags,
): Promise<void> {
  if (flags.detach && (flags.tty || flags.interactive)) {
    throw new UsageError("--detach excludes --interactive and --tty: the command has no streams then");
  }
  const terminal = flags.tty ? await context.terminal() : undefined;
  if (flags.tty && flags.interactive && terminal === undefined) {
    throw new UsageError("the input device is not a terminal: leave -t away");
  }
  const requests = new RequestQueue();
  requests.put({
    start: ExecStart.create({
      taskId: task.id,
      args: command,
      env: flags.env ?? [],
      user: flags.user ?? "",
      workingDir: flags.workdir ?? "",
      tty: flags.tty ?? false,
      stdin: flags.interactive ?? false,
      detach: flags.detach ?? false,
      privileged: flags.privileged ?? false,
      ...(terminal && { size: ExecSize.create(terminal.size) }),
    }),
  });
  // Signals are the program's, and the call is not given up on Ctrl-C.
  const call = { client: context.client, signal: new AbortController().signal };
  const endings = [await context.onSignal((signal) => requests.put({ signal }))];
  try {
    const answers = callNode(call, task.nodeId, NodeExec.methods.exec, requests);
    for await (const answer of answers) {
      if (answer.started && flags.detach) return;
      if (answer.started) endings.push(...connect(context, requests, flags, terminal));
      else if (answer.notStarted) throw new ExitStatus(answer.notStarted.exitCode, answer.notStarted.reason);
      else if (answer.exitCode !== undefined) {
        if (answer.exitCode !== 0) throw new ExitStatus(answer.exitCode);
        return;
      } else await print(context, answer);
    }
    throw new SwarmError("Unavailable", "the node ended the call without the command's exit code");
  } finally {
    for (const end of endings.reverse()) end();
    requests.end();
  }
}

async function print({ outBytes }: Context, { stdout, stderr }: ExecResponse): Promise<void> {
  if (stdout) await outBytes(stdout, "stdout");
  if (stderr) await outBytes(stderr, "stderr");
}

/** Joins keyboard, or standard input, and window size with the program that runs now; returns how to part them. */
function connect(
  context: Context,
  requests: RequestQueue,
  { interactive }: ExecFlags,
  terminal: Terminal | undefined,
): (() => void)[] {
  const endings: (() => void)[] = [];
  if (terminal) {
    endings.push(terminal.onResize(() => requests.put({ resize: ExecSize.create(terminal.size) })));
    if (interactive) endings.push(terminal.raw());
  }
  const input = terminal ? terminal.keys : context.inputStream();
  if (interactive && input) {
    endings.push(() => void input.destroy?.());
    void feed(input, requests);
  }
  return endings;
}

async function feed(input: Input, requests: RequestQueue): Promise<void> {
  try {
    for await (const chunk of input) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        await requests.putSlowly({ stdin: chunk.subarray(at, at + pieceBytes) });
      }
    }
  } catch {
    // An input that breaks has ended.
  }
  requests.put({ stdinEnd: ExecInputEnd.create() });
}

/** Requests in the order in which they are put; keys and signals come from several sides. */
class RequestQueue implements AsyncIterable<ExecRequest> {
  readonly #waiting: ExecRequest[] = [];
  #ended = false;
  #wake: () => void = () => undefined;
  #taken: () => void = () => undefined;

  put(request: Partial<ExecRequest>): void {
    this.#waiting.push(ExecRequest.create(request));
    this.#wake();
  }

  /** Resolves when it was taken: input is read no faster than the program reads it. */
  async putSlowly(request: Partial<ExecRequest>): Promise<void> {
    this.put(request);
    while (this.#waiting.length > 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#taken = resolve;
      });
    }
  }

  end(): void {
    this.#ended = true;
    this.#wake();
    this.#taken();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ExecRequest> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        yield next;
        this.#taken();
      } else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
