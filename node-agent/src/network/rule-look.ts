import { decodeReplies, runSteps, xfrm } from "@starling/native/net";
import type { Ruleset } from "./foreign-firewall.ts";
import type { OtherJudges } from "./judged-by-rules.ts";

/** All rules of the host's namespace (undefined: the process's own), ours and others'. Rejects when nftables refuse. */
export async function lookAtRules(netns: string | undefined): Promise<{ readonly ruleset: Ruleset } & OtherJudges> {
  const [[listing, files], ipsecPolicies] = await Promise.all([
    runSteps(netns, [
      { type: "nft", script: "list ruleset", json: true },
      { type: "files", paths: ["/proc/thread-self/net/ip_tables_names"] },
    ]),
    countPolicies(netns),
  ]);
  if (!listing.ok) throw new Error(`nftables refused: ${listing.error.trim()}`);
  return {
    ruleset: JSON.parse(listing.output) as Ruleset,
    legacyTables: files.texts.flatMap((text) => text.split("\n").filter((name) => name !== "")),
    ipsecPolicies,
  };
}

/** A kernel without IPsec has none. */
async function countPolicies(netns: string | undefined): Promise<number> {
  const step = { type: "netlink", protocol: xfrm.protocol, requests: [xfrm.getPolicyCount()] } as const;
  return runSteps(netns, [step]).then(
    ([{ replies }]) => xfrm.decodePolicyCount(decodeReplies(replies)),
    () => 0,
  );
}
