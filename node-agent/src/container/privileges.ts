/** Pure: no clock, no I/O, no randomness. */
import {
  type ContainerSpec,
  Privileges_AppArmorOpts_AppArmorMode,
  Privileges_SeccompOpts_SeccompMode,
  type RuntimeOptions,
} from "@starling/api";
import type { ProcessSpec } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";
import { defaultSeccompProfile } from "./seccomp/default-profile.ts";
import { parseSeccompProfile } from "./seccomp/profile.ts";
import { seccompProgram } from "./seccomp/program.ts";

/** What Docker gives to containers. */
const defaultCapabilities = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
];

/** All of Linux 6.x (linux/capability.h). */
export const allCapabilities = [
  ...defaultCapabilities,
  "DAC_READ_SEARCH",
  "LINUX_IMMUTABLE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "LEASE",
  "AUDIT_CONTROL",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
];

/** Docker's default set with the additions and without what is dropped; `ALL` stands for every one. */
export function capabilitiesOf(spec: Pick<ContainerSpec, "capabilityAdd" | "capabilityDrop">): string[] {
  const expand = (names: readonly string[], field: string) =>
    names.flatMap((name) => {
      const plain = name.toUpperCase().replace(/^CAP_/, "");
      if (plain === "ALL") return allCapabilities;
      if (allCapabilities.includes(plain)) return [plain];
      throw new FatalTaskError(`${field}: unknown capability ${JSON.stringify(name)}`);
    });
  const wanted = new Set([...defaultCapabilities, ...expand(spec.capabilityAdd, "capability add")]);
  // Dropping all and adding a few leaves these few.
  const dropsAll = spec.capabilityDrop.some((name) => /^(cap_)?all$/i.test(name));
  if (dropsAll) return expand(spec.capabilityAdd, "capability add").map((name) => `CAP_${name}`);
  for (const name of expand(spec.capabilityDrop, "capability drop")) wanted.delete(name);
  return [...wanted].map((name) => `CAP_${name}`);
}

/** What the node's kernel can confine by. */
export interface SecurityModules {
  /** Of the machine, as Node names it: x64, arm64. */
  readonly architecture: string;
  readonly appArmor: boolean;
  readonly selinux: boolean;
  /** AppArmor profiles that are loaded. */
  readonly appArmorProfiles: readonly string[];
}

/** Profiles that stand for "the runtime's" when one of them is loaded. */
const defaultProfiles = ["starling-default", "docker-default"];

/** Capabilities, filter and labels of a container's programs. Throws FatalTaskError. */
export function confinementOf(
  spec: ContainerSpec,
  options: RuntimeOptions,
  modules: SecurityModules,
): Pick<
  ProcessSpec,
  "capabilities" | "noNewPrivileges" | "seccomp" | "seccompProgram" | "appArmorProfile" | "selinuxLabel"
> {
  const { privileged } = options;
  const appArmorProfile = appArmorOf(spec, options, modules);
  const selinuxLabel = selinuxOf(spec, modules);
  const labels = { ...(appArmorProfile && { appArmorProfile }), ...(selinuxLabel && { selinuxLabel }) };
  const capabilities = privileged ? allCapabilities.map((name) => `CAP_${name}`) : capabilitiesOf(spec);
  const noNewPrivileges = spec.privileges?.noNewPrivileges === true || (options.noNewPrivileges ?? !privileged);
  return {
    capabilities,
    noNewPrivileges,
    ...labels,
    ...seccompOf(spec, { privileged, capabilities, architecture: modules.architecture }),
  };
}

function seccompOf(
  spec: ContainerSpec,
  machine: { readonly privileged: boolean; readonly capabilities: readonly string[]; readonly architecture: string },
): Pick<ProcessSpec, "seccomp" | "seccompProgram"> {
  const { mode, profile } = spec.privileges?.seccomp ?? { mode: Privileges_SeccompOpts_SeccompMode.DEFAULT };
  switch (mode) {
    case Privileges_SeccompOpts_SeccompMode.CUSTOM:
      return { seccomp: true, seccompProgram: customProgram(profile ?? new Uint8Array(), machine) };
    case Privileges_SeccompOpts_SeccompMode.UNCONFINED:
      return { seccomp: false };
    default:
      return machine.privileged
        ? { seccomp: false }
        : { seccomp: true, seccompProgram: defaultSeccompProgram(machine) };
  }
}

/** By the capabilities: nearly all containers have the same. */
const defaultPrograms = new Map<string, string>();
const defaultProgramsMax = 100;

/** The filter of a container for which nothing else was asked, as a bundle holds it. */
export function defaultSeccompProgram(machine: Parameters<typeof seccompProgram>[1]): string {
  const key = [machine.architecture, ...machine.capabilities].join();
  const known = defaultPrograms.get(key);
  if (known !== undefined) return known;
  const program = seccompProgram(defaultSeccompProfile, machine);
  if (defaultPrograms.size < defaultProgramsMax) defaultPrograms.set(key, program);
  return program;
}

function customProgram(profile: Uint8Array, machine: Parameters<typeof seccompProgram>[1]): string {
  try {
    const parsed = parseSeccompProfile(Buffer.from(profile).toString("utf8"));
    return seccompProgram(parsed, machine);
  } catch (error) {
    throw new FatalTaskError(`privileges.seccomp: ${(error as Error).message}`);
  }
}

function appArmorOf(
  { privileges }: ContainerSpec,
  { appArmorProfile, privileged }: RuntimeOptions,
  { appArmor, appArmorProfiles }: SecurityModules,
): string | undefined {
  if (appArmorProfile !== undefined) {
    if (!appArmor) throw new FatalTaskError(`AppArmor profile ${appArmorProfile}: this node's kernel has no AppArmor`);
    if (appArmorProfiles.includes(appArmorProfile)) return appArmorProfile;
    throw new FatalTaskError(
      `AppArmor profile ${appArmorProfile}: is not loaded on this node (apparmor_parser -r FILE)`,
    );
  }
  const isOff = privileges?.apparmor?.mode === Privileges_AppArmorOpts_AppArmorMode.DISABLED;
  if (!appArmor || isOff || privileged) return undefined;
  return defaultProfiles.find((name) => appArmorProfiles.includes(name));
}

function selinuxOf({ privileges }: ContainerSpec, { selinux }: SecurityModules): string | undefined {
  const context = privileges?.selinuxContext;
  if (context === undefined || context.disable) return undefined;
  const { user, role, type, level } = context;
  if (user === "" && role === "" && type === "" && level === "") return undefined;
  if (!selinux) throw new FatalTaskError("SELinux label: this node's kernel has no SELinux");
  // What container-selinux and Docker use.
  return [user || "system_u", role || "system_r", type || "container_t", level || "s0"].join(":");
}
