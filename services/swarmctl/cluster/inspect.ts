import { addressPools, Cluster, Control, durationMs, ListNodesRequest, poolSubnetSize } from "@starling/api";
import type { GrpcClient } from "../client/grpc-client.ts";
import { formatFields } from "../format/table.ts";
import { formatDuration } from "../format/time.ts";
import { inspecting } from "../inspecting.ts";
import { findCluster } from "./find.ts";
import { rotationProgress, waitingFor } from "./rotation-progress.ts";

const command = inspecting<Cluster>({
  argument: "[cluster]",
  codec: Cluster,
  find: ({ client }, reference) => findCluster(client, reference || undefined),
  pretty: async (cluster, { client }) => {
    const { id, spec, rootCa, vxlanUdpPort } = cluster;
    return formatFields([
      ["ID", id],
      ["Name", spec.annotations.name],
      ["Orchestration", ""],
      ["Task history", spec.orchestration.taskHistoryRetentionLimit, 1],
      ["Dispatcher", ""],
      ["Heartbeat", spec.dispatcher.heartbeatPeriod && formatDuration(durationMs(spec.dispatcher.heartbeatPeriod)), 1],
      ["CA", ""],
      ["Cert expiry", spec.caConfig.nodeCertExpiry && formatDuration(durationMs(spec.caConfig.nodeCertExpiry)), 1],
      ["Root CA digest", rootCa.caCertHash, 1],
      ...(rootCa.rootRotation ? [["Root rotation", await rotationText(client, cluster), 1] as const] : []),
      ["Join tokens", ""],
      ["Worker", rootCa.joinTokens.worker, 1],
      ["Manager", rootCa.joinTokens.manager, 1],
      ["Address pools", `${addressPools(cluster).join(", ")}, subnets of /${poolSubnetSize(cluster)}`],
      ["VXLAN port", vxlanUdpPort],
    ]);
  },
});

async function rotationText(client: GrpcClient, cluster: Cluster): Promise<string> {
  const { nodes } = await client.call(Control.methods.listNodes, ListNodesRequest.create());
  const progress = rotationProgress(cluster, nodes);
  const waiting = waitingFor(progress);
  return `${progress.certificates} of ${progress.nodes} nodes have a certificate of the new root${waiting && `, ${waiting}`}`;
}

/** Without an argument: the only cluster. */
export const inspect: typeof command = {
  ...command,
  run: (context, args, flags) => command.run(context, args.length > 0 ? args : [""], flags),
};
