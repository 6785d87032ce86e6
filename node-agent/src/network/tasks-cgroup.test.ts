import { describe, expect, it } from "vitest";
import { tasksCgroup } from "./tasks-cgroup.ts";

const mounts = (root: string, point: string) =>
  `20 1 0:5 / /proc rw - proc proc rw\n41 30 0:28 ${root} ${point} rw,relatime shared:9 - cgroup2 cgroup2 rw\n`;
const groups = (own: string) => `12:pids:/x\n0::${own}\n`;

describe("the group that all tasks are below", () => {
  it.each<[string, string | undefined, string, string, string?]>([
    ["the root for a systemd unit", "/sys/fs/cgroup", mounts("/", "/sys/fs/cgroup"), "/system.slice/swarmd.service"],
    ["the parent of swarmd's own else", "/cg/host", mounts("/", "/cg"), "/host/swarmd"],
    ["the root when swarmd is in it", "/cg", mounts("/", "/cg"), "/"],
    ["the root when containers are elsewhere", "/cg", mounts("/", "/cg"), "/host/swarmd", "/tasks"],
    ["seen from the group that is mounted", "/cg/b", mounts("/a", "/cg"), "/a/b/swarmd"],
    ["none without cgroup v2", undefined, "41 30 0:28 / /cg rw - cgroup cgroup rw,pids\n", "/"],
  ])("is %s", (_what, expected, mountinfo, own, parent) => {
    expect(tasksCgroup(mountinfo, groups(own), parent)).toBe(expected);
  });
});
