import { Control, type Node, type NodeSpec, UpdateNodeRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { Context } from "../context.ts";
import { resolveNodeOrSelf } from "./self.ts";

/** Tries before we say that someone else keeps changing the node; status reports change it too. */
const triesMax = 10;

/** Pause before a try on whoever leads next. */
const retryMs = 100;

/**
 * Reads the node, changes its spec, writes it back; anew when another write came between, or when the leader left before
 * it answered, as it does when it is demoted itself. `change` must lead to the same spec when it is made twice.
 */
export async function changeNode(
  { client, clock, signal }: Context,
  reference: string,
  change: (spec: NodeSpec) => NodeSpec,
): Promise<Node> {
  for (let attempt = 1; ; attempt++) {
    const present = await resolveNodeOrSelf(client, reference);
    const request = UpdateNodeRequest.create({
      nodeId: present.id,
      nodeVersion: present.meta.version,
      spec: change(present.spec),
    });
    try {
      return (await client.call(Control.methods.updateNode, request)).node!;
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      const outdated = error.message.includes("update out of sequence");
      const unanswered = error.code === "Unavailable" && /outcome (is )?unknown/.test(error.message);
      if (!(outdated || unanswered) || attempt === triesMax) throw error;
      if (unanswered) await clock.sleep(retryMs, signal);
    }
  }
}
