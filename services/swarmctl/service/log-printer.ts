/** Pure: no clock, no I/O, no randomness. */

import { type LogMessage, LogStream, type Task } from "@starling/api";
import { shortTaskName, type TaskNames } from "../format/tasks.ts";
import { formatTimestamp } from "../format/time.ts";
import { shortId } from "../format/words.ts";

export interface LogPrinterOptions {
  /** Known tasks; messages of others name the task by its id. */
  readonly tasks: readonly Task[];
  /** Without names, lines are printed as they came. */
  readonly names?: TaskNames;
  readonly timestamps: boolean;
  readonly taskIds: boolean;
  readonly whole: boolean;
}

/**
 * Lines as `web.1.abc123@host    | text`. Messages end where they end: what a task leaves unfinished waits for the rest
 * of its line.
 */
export class LogPrinter {
  readonly #options: LogPrinterOptions;
  readonly #tasks: ReadonlyMap<string, Task>;
  /** Unfinished lines by task and stream, prefix included. */
  readonly #open = new Map<string, string>();
  readonly #decoder = new TextDecoder();
  #width = 0;

  constructor(options: LogPrinterOptions) {
    this.#options = options;
    this.#tasks = new Map(options.tasks.map((task) => [task.id, task]));
  }

  /** The lines that this message completes, ready to write. */
  lines(message: LogMessage): string {
    const text = this.#decoder.decode(message.data);
    const prefix = this.#prefix(message);
    if (this.#options.names === undefined) return this.#stamp(message) + text;
    const key = `${message.context.taskId} ${message.stream ?? LogStream.LOG_STREAM_UNKNOWN}`;
    const parts = text.split("\n");
    const last = parts.pop()!;
    let output = "";
    for (const part of parts) {
      output += `${this.#open.get(key) ?? prefix}${part}\n`;
      this.#open.delete(key);
    }
    if (last !== "") this.#open.set(key, (this.#open.get(key) ?? prefix) + last);
    return output;
  }

  /** What tasks left unfinished at the end of the logs. */
  rest(): string {
    const rest = [...this.#open.values()].map((line) => `${line}\n`).join("");
    this.#open.clear();
    return rest;
  }

  #prefix(message: LogMessage): string {
    const { names, taskIds, whole } = this.#options;
    if (names === undefined) return "";
    const { taskId, serviceId, nodeId } = message.context;
    const task = this.#tasks.get(taskId);
    const name = task ? shortTaskName(task, names) : names.service(serviceId);
    const id = taskIds || !task ? `.${shortId(taskId, whole)}` : "";
    const label = `${name}${id}@${names.node(nodeId || (task?.nodeId ?? ""))}`;
    this.#width = Math.max(this.#width, label.length);
    return `${this.#stamp(message)}${label.padEnd(this.#width)}    | `;
  }

  #stamp({ timestamp }: LogMessage): string {
    return this.#options.timestamps ? `${formatTimestamp(timestamp)} ` : "";
  }
}
