/** Pure: no clock, no I/O, no randomness. */
import { type ContainerSpec, Privileges_SeccompOpts_SeccompMode } from "@starling/api";
import { FatalTaskError } from "../exec/controller.ts";

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
const allCapabilities = [
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

/** Label that lets a task's programs gain privileges by setuid files, as Docker's default does. */
const noNewPrivilegesLabel = "io.starling.no-new-privileges";

/** On by default; `io.starling.no-new-privileges: "false"` turns it off unless the spec itself asks for it. */
export function noNewPrivileges(spec: ContainerSpec): boolean {
  return spec.privileges?.noNewPrivileges === true || spec.labels[noNewPrivilegesLabel] !== "false";
}

/** Whether the default filter applies; false: unconfined. Own profiles are refused. */
export function seccompOn(spec: ContainerSpec): boolean {
  const mode = spec.privileges?.seccomp?.mode ?? Privileges_SeccompOpts_SeccompMode.DEFAULT;
  if (mode === Privileges_SeccompOpts_SeccompMode.CUSTOM) {
    throw new FatalTaskError("privileges.seccomp: custom profiles are not supported, use default or unconfined");
  }
  return mode !== Privileges_SeccompOpts_SeccompMode.UNCONFINED;
}
