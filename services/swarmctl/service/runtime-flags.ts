/** Pure: no clock, no I/O, no randomness. */
import {
  type ContainerSpec,
  Privileges,
  Privileges_AppArmorOpts,
  Privileges_AppArmorOpts_AppArmorMode,
  Privileges_SELinuxContext,
  Privileges_SeccompOpts,
  Privileges_SeccompOpts_SeccompMode,
  runtimeOptionPrefix,
  runtimeOptionShapes,
  runtimeOptionsOf,
  splitList,
} from "@starling/api";
import type { FlagDefinition } from "../command.ts";
import { parseBytes } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";

/** `docker run`'s flags that Swarm's spec has no place for. A flag's value becomes a label of the container. */
export interface RuntimeFlags {
  readonly privileged?: boolean;
  readonly device?: readonly string[];
  readonly deviceAdd?: readonly string[];
  readonly deviceRm?: readonly string[];
  readonly deviceCgroupRule?: readonly string[];
  readonly pid?: string;
  readonly ipc?: string;
  readonly uts?: string;
  readonly userns?: string;
  readonly shmSize?: string;
  readonly domainname?: string;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly cpuShares?: string;
  readonly blkioWeight?: string;
  readonly deviceReadBps?: readonly string[];
  readonly deviceWriteBps?: readonly string[];
  readonly deviceReadIops?: readonly string[];
  readonly deviceWriteIops?: readonly string[];
  readonly volumePlacement?: string;
  readonly securityOpt?: readonly SecurityOption[];
}

/** One `--security-opt`; the seccomp profile's text has been read. */
export type SecurityOption =
  | { readonly t: "label"; readonly name: string; readonly value: string }
  | { readonly t: "no-new-privileges"; readonly on: boolean }
  | { readonly t: "seccomp"; readonly profile: Uint8Array | "unconfined" | "default" }
  | { readonly t: "apparmor"; readonly profile: string }
  | { readonly t: "selinux"; readonly part: "user" | "role" | "type" | "level" | "disable"; readonly value: string };

/** Said by `--security-opt` or `--network`, as docker does. */
const withoutFlag = ["apparmor", "no-new-privileges", "systempaths", "network"];
const flagged = runtimeOptionShapes.filter(({ name }) => !withoutFlag.includes(name));

/** `read` gives the file of `--security-opt seccomp=FILE`. */
export function runtimeFlags(read: (path: string) => Uint8Array): readonly FlagDefinition[] {
  return [
    ...flagged.flatMap(({ name, help, value, list, bytes }): FlagDefinition[] =>
      value === undefined
        ? [
            { flags: `--${name}`, help },
            { flags: `--no-${name}`, help: `Not ${name}`, hidden: true },
          ]
        : [
            {
              flags: `--${name} <${value}>`,
              help,
              ...(list && { list }),
              ...(bytes && { parse: (text: string) => String(parseBytes(text)) }),
            },
          ],
    ),
    {
      flags: "--security-opt <option>",
      help: "no-new-privileges[=false], seccomp=FILE|unconfined, apparmor=PROFILE, label=type:T, systempaths=unconfined",
      parse: (text) => parseSecurityOption(text, read),
      list: true,
    },
  ];
}

/** Labels and privileges with what the flags set; options that no flag names stay. An empty value takes one away. */
export function withRuntimeFlags(base: ContainerSpec, flags: RuntimeFlags): ContainerSpec {
  const labels = { ...base.labels };
  const set = (name: string, value: string) => {
    if (value === "") delete labels[runtimeOptionPrefix + name];
    else labels[runtimeOptionPrefix + name] = value;
  };
  for (const { name } of flagged) {
    const given = flags[camelCase(name) as keyof RuntimeFlags];
    if (typeof given === "boolean") set(name, given ? "true" : "");
    else if (typeof given === "string") set(name, given);
    else if (given !== undefined) set(name, (given as readonly string[]).join(","));
  }
  if (flags.deviceAdd || flags.deviceRm) {
    const source = (device: string) => device.split(":")[0]!;
    const gone = [...(flags.deviceRm ?? []), ...(flags.deviceAdd ?? []).map(source)];
    const kept = splitList(labels[`${runtimeOptionPrefix}device`] ?? "").filter((item) => !gone.includes(source(item)));
    set("device", [...kept, ...(flags.deviceAdd ?? [])].join(","));
  }
  let { privileges } = base;
  for (const option of flags.securityOpt ?? []) {
    if (option.t === "label") set(option.name, option.value);
    else privileges = withSecurity(privileges ?? Privileges.create(), option, set);
  }
  // The same judgement as the managers', before anything is sent.
  runtimeOptionsOf(labels);
  return { ...base, labels, privileges };
}

function withSecurity(
  base: Privileges,
  option: Exclude<SecurityOption, { readonly t: "label" }>,
  setLabel: (name: string, value: string) => void,
): Privileges {
  switch (option.t) {
    case "no-new-privileges":
      // The field says yes to nodes of any make; only the label can say no to ours, where yes is the default.
      setLabel("no-new-privileges", option.on ? "" : "false");
      return { ...base, noNewPrivileges: option.on };
    case "seccomp": {
      const { CUSTOM, DEFAULT, UNCONFINED } = Privileges_SeccompOpts_SeccompMode;
      const { profile } = option;
      const seccomp =
        typeof profile === "string"
          ? { mode: profile === "default" ? DEFAULT : UNCONFINED }
          : { mode: CUSTOM, profile };
      return { ...base, seccomp: Privileges_SeccompOpts.create(seccomp) };
    }
    case "apparmor": {
      const { DEFAULT, DISABLED } = Privileges_AppArmorOpts_AppArmorMode;
      const off = option.profile === "unconfined";
      setLabel("apparmor", off ? "" : option.profile);
      return { ...base, apparmor: Privileges_AppArmorOpts.create({ mode: off ? DISABLED : DEFAULT }) };
    }
    case "selinux": {
      const context = base.selinuxContext ?? Privileges_SELinuxContext.create();
      const value = option.part === "disable" ? true : option.value;
      return { ...base, selinuxContext: { ...context, [option.part]: value } };
    }
  }
}

/** docker run's `--security-opt`: NAME, NAME=VALUE or NAME:VALUE. */
export function parseSecurityOption(text: string, read: (path: string) => Uint8Array): SecurityOption {
  const [, name = "", value] = /^([a-z-]+)(?:[=:](.*))?$/s.exec(text) ?? [];
  switch (name) {
    case "no-new-privileges":
      if (value === undefined || value === "true" || value === "false") {
        return { t: "no-new-privileges", on: value !== "false" };
      }
      break;
    case "systempaths":
      if (value === "unconfined") return { t: "label", name, value };
      break;
    case "apparmor":
      if (value) return { t: "apparmor", profile: value };
      break;
    case "seccomp":
      if (value === "unconfined") return { t: "seccomp", profile: value };
      if (value === "builtin" || value === "default") return { t: "seccomp", profile: "default" };
      if (value) return { t: "seccomp", profile: read(value) };
      break;
    case "label": {
      if (value === "disable") return { t: "selinux", part: "disable", value: "" };
      const match = /^(user|role|type|level):(.+)$/.exec(value ?? "");
      if (match) return { t: "selinux", part: match[1] as "user" | "role" | "type" | "level", value: match[2]! };
    }
  }
  throw new UsageError(
    `"${text}" is not a security option: write no-new-privileges[=false], seccomp=FILE, seccomp=unconfined, ` +
      "apparmor=PROFILE, label=type:TYPE, label=disable or systempaths=unconfined",
  );
}

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_dash, letter: string) => letter.toUpperCase());
}
