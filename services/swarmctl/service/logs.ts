import {
  Control,
  ListTasksRequest,
  ListTasksRequest_Filters,
  type LogMessage,
  LogSelector,
  LogStream,
  LogSubscriptionOptions,
  Logs,
  SubscribeLogsRequest,
  type Timestamp,
  timestampOfMs,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { taskNames } from "../client/names.ts";
import { resolveService, resolveTask } from "../client/resolve.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { inFlag, parseCount, parseDuration } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import { LogPrinter } from "./log-printer.ts";

interface LogsFlags {
  readonly follow?: boolean;
  readonly tail?: string;
  readonly since?: string;
  readonly timestamps?: boolean;
  readonly raw?: boolean;
  readonly taskIds?: boolean;
  readonly trunc?: boolean;
}

export const logs: Command<LogsFlags> = {
  arguments: "<service|task...>",
  flags: [
    { flags: "-f, --follow", help: "Follow log output" },
    { flags: "--tail <lines>", help: "Lines to show from the end of the logs (all)" },
    { flags: "--since <time>", help: "Show lines since a time (2026-01-02T15:04:05Z) or a duration (10m)" },
    { flags: "-t, --timestamps", help: "Show timestamps" },
    { flags: "--raw", help: "Show lines as they are, without the task's name" },
    { flags: "--no-task-ids", help: "Leave task IDs out" },
    { flags: "--no-trunc", help: "Show whole IDs" },
  ],
  async run(context, args, flags) {
    const { client, signal } = context;
    const selector = await selectorOf(context, args);
    const names = flags.raw ? undefined : await taskNames(context);
    const filters = ListTasksRequest_Filters.create({ serviceIds: selector.serviceIds });
    const { tasks } = flags.raw
      ? { tasks: [] }
      : await client.call(Control.methods.listTasks, ListTasksRequest.create({ filters }));
    const printer = new LogPrinter({
      tasks,
      ...(names && { names }),
      timestamps: flags.timestamps ?? false,
      taskIds: flags.taskIds !== false,
      whole: flags.trunc === false,
    });
    const options = LogSubscriptionOptions.create({
      follow: flags.follow ?? false,
      tail: tailOf(flags.tail),
      since: sinceOf(flags.since, context.clock.now()),
      streams: [],
    });
    const request = SubscribeLogsRequest.create({ selector, options });
    try {
      for await (const { messages } of client.stream(Logs.methods.subscribeLogs, request, { signal })) {
        for (const message of messages) print(context, printer, message);
      }
    } finally {
      context.out(printer.rest());
    }
  },
};

/** The same of single tasks. */
export const taskLogs: Command<LogsFlags> = { ...logs, arguments: "<task...>" };

function print({ out, err }: Context, printer: LogPrinter, message: LogMessage): void {
  const text = printer.lines(message);
  if (message.stream === LogStream.LOG_STREAM_STDERR) err(text);
  else out(text);
}

/** Each argument is a service or else a task. */
async function selectorOf({ client }: Context, references: readonly string[]): Promise<LogSelector> {
  const serviceIds: string[] = [];
  const taskIds: string[] = [];
  for (const reference of references) {
    try {
      serviceIds.push((await resolveService(client, reference)).id);
    } catch (thrown) {
      if (SwarmError.from(thrown).code !== "NotFound") throw thrown;
      const task = await resolveTask(client, reference).catch(() => undefined);
      if (!task)
        throw new SwarmError("NotFound", `"${reference}" is neither a service nor a task: see swarmctl service ls`);
      taskIds.push(task.id);
    }
  }
  return LogSelector.create({ serviceIds, taskIds });
}

/** Swarm counts from the end with an offset of one: -1 is no line, -11 the last ten; 0 is all. */
function tailOf(lines: string | undefined): number {
  if (lines === undefined || lines === "all") return 0;
  return -1 - inFlag("--tail", () => parseCount(lines));
}

function sinceOf(text: string | undefined, nowMs: number): Timestamp | undefined {
  if (text === undefined) return undefined;
  const stamp = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (!Number.isNaN(stamp) && !/^[\d.]+(ns|us|ms|s|m|h)/.test(text)) return timestampOfMs(stamp);
  try {
    const { seconds, nanos } = parseDuration(text);
    return timestampOfMs(nowMs - seconds * 1000 - nanos / 1e6);
  } catch {
    throw new UsageError(`--since "${text}" is neither a time (2026-01-02T15:04:05Z) nor a duration (10m)`);
  }
}
