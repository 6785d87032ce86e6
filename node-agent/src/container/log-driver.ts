/** Pure: no clock, no I/O, no randomness. */
import { type Task, taskName } from "@starling/api";
import type { LogSinkSpec } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";

export interface LogRotation {
  readonly maxBytes: number;
  readonly maxFiles: number;
}

/** How a task's output is kept. `service logs` reads the file, which syslog and journald have besides. */
export interface LogPlan {
  /** Undefined: no file. */
  readonly rotation: LogRotation | undefined;
  /** Its address may be a host's name yet. */
  readonly sink: LogSinkSpec | undefined;
}

const defaultRotation: LogRotation = { maxBytes: 10 << 20, maxFiles: 3 };
const units: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Names that nodes tell managers of. */
export const logDrivers = ["json-file", "local", "none", "syslog", "journald"];

/**
 * By the driver: `json-file` (also the default, and what `local` means here) with `max-size` and `max-file`, by default 3
 * files of 10 MiB; `none`; `syslog` and `journald`. Throws FatalTaskError for other drivers and bad options.
 */
export function logPlanOf(task: Task, hostname: string): LogPlan {
  const driver = task.logDriver ?? task.spec.logDriver;
  const options = driver?.options ?? {};
  switch (driver?.name ?? "") {
    case "none":
      return { rotation: undefined, sink: undefined };
    case "":
    case "json-file":
    case "local":
      return { rotation: rotationOf(options), sink: undefined };
    case "syslog":
      return { rotation: rotationOf({}), sink: syslogOf(task, options, hostname) };
    case "journald":
      return { rotation: rotationOf({}), sink: journaldOf(task, options) };
    default:
      throw new FatalTaskError(
        `log driver ${JSON.stringify(driver?.name)}: not here, use one of ${logDrivers.join(", ")}`,
      );
  }
}

type Options = Readonly<Record<string, string>>;

function rotationOf(options: Options): LogRotation {
  const { "max-size": size, "max-file": files } = options;
  return {
    maxBytes: size === undefined ? defaultRotation.maxBytes : parseSize(size),
    maxFiles: files === undefined ? defaultRotation.maxFiles : parseCount(files),
  };
}

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?$/i.exec(text);
  const bytes = match ? Math.floor(Number(match[1]) * units[match[2]!.toLowerCase()]!) : 0;
  if (bytes < 4096) throw new FatalTaskError(`log option max-size=${text}: must be a size of at least 4k, such as 10m`);
  return bytes;
}

function parseCount(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > 1000) throw new FatalTaskError(`log option max-file=${text}: must be 1 to 1000`);
  return count;
}

/** By their numbers (RFC 5424 §6.2.1). */
const facilities = [
  ...["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"],
  ...["ntp", "security", "console", "solaris-cron"],
  ...Array.from({ length: 8 }, (_none, i) => `local${i}`),
];
const formats: Readonly<Record<string, boolean>> = { "": false, rfc3164: false, rfc5424: true, rfc5424micro: true };

function syslogOf(task: Task, options: Options, hostname: string): LogSinkSpec {
  checkNames("syslog", options, ["syslog-address", "syslog-facility", "syslog-format", "tag"]);
  const { "syslog-facility": facility = "daemon", "syslog-format": format = "" } = options;
  const number = /^\d+$/.test(facility) ? Number(facility) : facilities.indexOf(facility);
  if (number < 0 || number > 23) {
    throw new FatalTaskError(
      `log option syslog-facility=${facility}: must be 0 to 23 or one of ${facilities.join(", ")}`,
    );
  }
  const rfc5424 = Object.hasOwn(formats, format) ? formats[format] : undefined;
  if (rfc5424 === undefined) {
    throw new FatalTaskError(`log option syslog-format=${format}: must be rfc3164, rfc5424 or rfc5424micro`);
  }
  return {
    kind: "syslog",
    ...addressOf(options["syslog-address"] ?? ""),
    facility: number,
    rfc5424,
    hostname,
    tag: tagOf(task, options, hostname),
  };
}

/** `unix:///dev/log`, `udp://host[:port]`, `tcp://host[:port]`; "" is the host's own. */
function addressOf(text: string): Pick<LogSinkSpec, "transport" | "address" | "port"> {
  const refuse = (): never => {
    throw new FatalTaskError(
      `log option syslog-address=${text}: write unix:///dev/log, udp://HOST:PORT or tcp://HOST:PORT`,
    );
  };
  if (text === "") return { transport: "unix", address: "/dev/log" };
  const unix = /^unix(?:gram)?:\/\/(\/.{1,99})$/.exec(text);
  if (unix) return { transport: "unix", address: unix[1]! };
  const [, transport, v6, name, digits] =
    /^(udp|tcp):\/\/(?:\[([0-9a-fA-F:]+)\]|([\w.-]+))(?::(\d{1,5}))?$/.exec(text) ?? refuse();
  const port = digits === undefined ? 514 : Number(digits);
  if (port < 1 || port > 65535) refuse();
  return { transport: transport as "udp" | "tcp", address: (v6 ?? name)!, port };
}

function journaldOf(task: Task, options: Options): LogSinkSpec {
  checkNames("journald", options, ["tag", "labels"]);
  const tag = tagOf(task, options, "");
  const labels = task.spec.container?.labels ?? {};
  const wanted = (options["labels"] ?? "").split(",").filter((name) => Object.hasOwn(labels, name));
  const fields = {
    CONTAINER_ID: task.id.slice(0, 12),
    CONTAINER_ID_FULL: task.id,
    CONTAINER_NAME: taskName(task),
    CONTAINER_TAG: tag,
    IMAGE_NAME: task.spec.container?.image ?? "",
    ...Object.fromEntries(wanted.map((name) => [fieldName(name), plain(labels[name]!)])),
  };
  return { kind: "journald", tag, fields };
}

/** Of journal fields: capitals, digits and _, not the first. */
function fieldName(label: string): string {
  const name = label.toUpperCase().replace(/[^A-Z0-9_]/g, "_");
  return /^[A-Z]/.test(name) ? name : `L${name}`;
}

function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is taken out
  return text.replace(/[\u0000-\u001f\u007f]/g, " ");
}

/** Docker's `tag`: text with {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageName}}, {{.DaemonName}}, {{.Hostname}}. */
function tagOf(task: Task, options: Options, hostname: string): string {
  const values: Options = {
    ID: task.id.slice(0, 12),
    FullID: task.id,
    Name: taskName(task),
    ImageName: task.spec.container?.image ?? "",
    DaemonName: "swarmd",
    Hostname: hostname,
  };
  const template = options["tag"] || "{{.ID}}";
  const tag = template.replace(/\{\{\s*(.*?)\s*\}\}/g, (whole, expression: string) => {
    const name = expression.replace(/^\./, "");
    if (!expression.startsWith(".") || !Object.hasOwn(values, name)) {
      throw new FatalTaskError(`log option tag=${template}: ${whole} is not known here`);
    }
    return values[name]!;
  });
  return plain(tag);
}

function checkNames(driver: string, options: Options, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new FatalTaskError(`log option ${unknown}: ${driver} knows ${known.join(", ")}`);
  }
}
