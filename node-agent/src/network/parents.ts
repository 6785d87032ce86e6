import { decodeLinks, decodeReplies, Errno, rtnetlink, runSteps } from "@starling/native/net";
import { chooseParent, type ParentChoice } from "./parent-device.ts";

/** The host's device for a network with these parents, a VLAN being made if need be. */
export async function hostParent(
  parents: readonly string[],
  netns: string | undefined,
): Promise<Exclude<ParentChoice, { kind: "vlan" }>> {
  const look = { type: "netlink", protocol: rtnetlink.routeProtocol, requests: [rtnetlink.getLinks()] } as const;
  const [before] = await runSteps(netns, [look]);
  const choice = chooseParent(parents, decodeLinks(decodeReplies(before.replies)));
  if (choice.kind !== "vlan") return choice;
  const make = { type: "netlink", protocol: rtnetlink.routeProtocol, requests: [choice.request] } as const;
  const [made, after] = await runSteps(netns, [make, look]);
  const { error = 0, explanation = "" } = made.answers[0] ?? {};
  // Another task's attach may have made it meanwhile.
  if (error !== 0 && error !== Errno.EEXIST) {
    const why = error === Errno.EOPNOTSUPP ? "this host's kernel has no VLAN devices" : `errno ${error} ${explanation}`;
    return { kind: "missing", reason: `VLAN device ${choice.name} could not be made: ${why.trim()}` };
  }
  const found = chooseParent(parents, decodeLinks(decodeReplies(after.replies)));
  return found.kind === "vlan" ? { kind: "missing", reason: `VLAN device ${found.name} is gone again` } : found;
}
