import { readFile } from "node:fs/promises";
import type { SecurityModules } from "./privileges.ts";

/** What this node's kernel has, and the AppArmor profiles that are loaded now. */
export async function securityModules(): Promise<SecurityModules> {
  const [enabled, profiles, enforce] = await Promise.all([
    textOf("/sys/module/apparmor/parameters/enabled"),
    textOf("/sys/kernel/security/apparmor/profiles"),
    textOf("/sys/fs/selinux/enforce"),
  ]);
  return {
    architecture: process.arch,
    appArmor: enabled.startsWith("Y"),
    selinux: enforce !== "",
    // "name (enforce)", one a line.
    appArmorProfiles: profiles.split("\n").map((line) => line.replace(/ \([a-z]+\)$/, "")),
  };
}

function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
