import { existsSync } from "node:fs";
import { hostname as ownHostname } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import {
  dataPathLabel,
  LayerSharing,
  NetworkState,
  type Node,
  type SessionMessage,
  WatchNetworkStateRequest,
} from "@starling/api";
import { RpcClient, withoutPings } from "@starling/api/rpc";
import { type Clock, type Logger, metrics, type Random, SwarmError, systemClock, systemRandom } from "@starling/base";
import {
  bootstrapIdentity,
  CertificateRenewer,
  clientCredentials,
  joinCluster,
  NodeIdentity,
  peerTls,
  returnToCluster,
  wantsRenewal,
} from "@starling/ca";
import {
  Agent,
  ContainerExecutor,
  collectTaskMetrics,
  Dependencies,
  followNetworkState,
  NodeNetwork,
  ownTasksCgroup,
  readIdMaps,
} from "@starling/node-agent";
import { advertisedAddress } from "./advertise.ts";
import { readRegistrySettings } from "./config-file.ts";
import { type NodeOptions, splitAddress } from "./flags.ts";
import { keepYoungGenerationSmall } from "./heap-growth.ts";
import { whyWeEnd } from "./host-shutdown.ts";
import { version } from "./installation.ts";
import { forgetNode, leftStatus, nodeSelfHandlers } from "./leave.ts";
import { WorkerSocket } from "./local-socket.ts";
import { forgetManager, ManagerPart } from "./manager-part.ts";
import { startMetricsServer } from "./metrics-server.ts";
import { readNodeState, writeNodeState } from "./node-state.ts";
import { type Promotion, promotionOf } from "./promotion.ts";

interface Surroundings {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/**
 * Runs a node until SIGTERM or SIGINT, or until it must not go on; returns the exit status. Containers outlive it. What
 * hinders the start is thrown in the user's words.
 */
export async function runNode(options: NodeOptions, log: Logger): Promise<number> {
  const surroundings = { clock: systemClock, random: systemRandom, log };
  const { stateDir } = options;
  log.info("swarmd starts", { version });
  const registries = await readRegistrySettings(options);
  const userNamespace = options.usernsRemap === undefined ? undefined : await readIdMaps(options.usernsRemap);
  const remembered = await readNodeState(stateDir);
  const found = await identityOf(options, surroundings);
  if (found === undefined) return 0;
  const identity = found;
  if (!identity.isManager) {
    keepYoungGenerationSmall();
    await forgetManager(stateDir, identity);
  }
  const advertise = await advertisedAddress({
    advertise: options.advertiseRemoteApi,
    listen: options.listenRemoteApi,
    peer: options.joinAddr ?? remembered.managers[0],
  });
  if (identity.hasExpired) {
    await regain(identity, { ...options, addresses: remembered.managers.filter((each) => each !== advertise) }, log);
  }
  log.info("node", { "node.id": identity.nodeId, role: identity.role, cluster: identity.organization });
  const ended = Promise.withResolvers<number>();
  let hasLeft = false;
  const onFatal = (error: SwarmError) => {
    log.error("swarmd ends", { error: error.message });
    ended.resolve(1);
  };

  const connect = (address: string) => new RpcClient(address, clientCredentials(identity), withoutPings);
  const cgroup = ownTasksCgroup(options.cgroupParent);
  const connectTime = options.virtualIps !== "nftables";
  const network = new NodeNetwork({
    ...{ nodeId: identity.nodeId, cgroup, connectTime },
    frameShortcuts: options.overlayFrames !== "bridge",
    meshShortcuts: options.routingMesh !== "nftables",
    ...surroundings,
  });
  if (options.virtualIps === "ebpf") await network.mustUseConnectTime();
  if (options.overlayFrames === "ebpf") await network.shortcuts.frames.must();
  if (options.routingMesh === "ebpf") await network.shortcuts.mesh.must();
  const dependencies = new Dependencies();
  const { host = "", port = 0 } = splitAddress(options.listenImages ?? "") ?? {};
  const executor = new ContainerExecutor({
    stateDir,
    runDir: options.runDir,
    hostname: options.hostname ?? ownHostname(),
    network,
    dependencies,
    registries,
    sharing: options.listenImages === undefined ? undefined : { address: { host, port }, tls: peerTls(identity) },
    genericResources: options.genericResources,
    cgroupParent: options.cgroupParent,
    labels: { ...options.labels, ...(options.dataPathAddr && { [dataPathLabel]: options.dataPathAddr }) },
    userNamespace,
    imageCollection: { ageMs: options.imageGcAgeMs, freeShare: options.imageGcFreeShare },
    ...surroundings,
  });
  const initial = new Set([...remembered.managers, ...(options.joinAddr ? [options.joinAddr] : [])]);
  if (identity.isManager) initial.add(advertise);
  const stop = new AbortController();
  const agent = new Agent({
    nodeId: identity.nodeId,
    executor,
    connect,
    managers: [...initial],
    stateDir,
    dependencies,
    methods: executor.methods,
    tlsInfo: () => identity.tlsInfo,
    labels: () => network.labels,
    onSessionMessage: (message) => hear(message),
    leaving: whyWeEnd,
    onRemoved: ({ message }) => {
      log.error(`${message}: nothing of its tasks is left here; end swarmd, empty ${stateDir}, and start it anew`);
    },
    onSession: ({ client, signal }) => {
      void followNetworkState({
        open: (streamSignal) =>
          client.stream(NetworkState.methods.watch, WatchNetworkStateRequest.create(), { signal: streamSignal }),
        report: (report) => client.call(NetworkState.methods.report, report, { signal }),
        network,
        signal,
        ...surroundings,
      }).then(judgePromotion);
      void executor.sharing?.follow(
        (requests, streamSignal) => client.duplex(LayerSharing.methods.share, requests, { signal: streamSignal }),
        signal,
      );
    },
    ...surroundings,
  });
  network.onLabels = () => agent.describeNow();
  const renewer = new CertificateRenewer({
    identity,
    manager: () => agent.remotes.select(),
    mayRenew: () => judgePromotion().t === "open",
    local: () => managers.manager && new RpcClient(`unix:${options.listenControlApi}`, credentials.createInsecure()),
    ...surroundings,
  });
  const self = nodeSelfHandlers({
    isManager: () => identity.isManager,
    stopTasks: () => agent.leave(),
    // After the answer to who asked.
    end: () => setImmediate(() => ended.resolve(leftStatus)),
  });
  const workerSocket = new WorkerSocket({ path: options.listenControlApi, self, ...surroundings });
  const managers = new ManagerPart({
    self,
    workerSocket,
    identity,
    stateDir,
    listenRemoteApi: options.listenRemoteApi,
    advertiseRemoteApi: advertise,
    listenControlApi: options.listenControlApi,
    raftTiming: { heartbeatTicks: options.heartbeatTick, electionTicks: options.electionTick },
    registries,
    autolock: options.autolock,
    newCluster: options.newCluster,
    onLocked: () => renewer.renewNow(),
    remotes: () => agent.remotes.addresses.filter((address) => address !== advertise),
    onFatal,
    ...surroundings,
  });
  identity.onChange(() => {
    managers.setWanted(identity.isManager);
    agent.describeNow();
  });

  /** A manager among managers of another make would have to keep their Raft log: a worker it stays, and says so. */
  let refused = false;
  function judgePromotion(): Promotion {
    const now = promotionOf({ node: own, isManager: identity.isManager, foreign: network.underForeignManagers });
    if (now.t === "refused" && !refused) log.error(now.why);
    refused = now.t === "refused";
    return now;
  }

  /** What managers say of the cluster and of this node. */
  let rememberedManagers = remembered.managers.join();
  let own: Node | undefined;
  function hear(message: SessionMessage): void {
    own = message.node ?? own;
    const isWanted = () => judgePromotion().t !== "refused" && own !== undefined && wantsRenewal(own, identity);
    if (isWanted()) renewer.renewNow(isWanted);
    if (message.rootCa.length > 0) {
      const rootPem = Buffer.from(message.rootCa).toString("utf8");
      identity.replaceRoot(rootPem).catch((error) => log.warn("root certificate not taken over", { error }));
    }
    const addresses = [...agent.remotes.addresses].sort();
    if (addresses.join() === rememberedManagers || addresses.length === 0) return;
    rememberedManagers = addresses.join();
    writeNodeState(stateDir, { managers: addresses }).catch((error) => log.warn("managers not remembered", { error }));
  }

  const metricsServer =
    options.listenMetrics === undefined
      ? undefined
      : await startMetricsServer({
          address: options.listenMetrics,
          metrics,
          log,
          collect: async () => {
            const labels = ["swarm_id", "node_id"] as const;
            metrics
              .gauge("swarm_node_info", "Information about this node.", labels)
              .set({ swarm_id: identity.organization, node_id: identity.nodeId }, 1);
            metrics.gauge("swarm_node_manager", "Whether this node is a manager.").set(managers.manager ? 1 : 0);
            managers.manager?.collect(metrics);
            collectTaskMetrics(metrics, agent.tasks);
            metrics
              .gauge(
                "starling_node_virtual_ips_ebpf",
                "Whether virtual IPs of TCP are by eBPF; else they are by nftables.",
              )
              .set(network.usesConnectTime ? 1 : 0);
            metrics
              .gauge(
                "starling_node_overlay_frames_ebpf",
                "Whether frames of overlay networks go past their bridges by eBPF.",
              )
              .set(network.shortcuts.frames.inUse ? 1 : 0);
            metrics
              .gauge(
                "starling_node_routing_mesh_ebpf",
                "Whether established connections of the routing mesh go past the host's rules by eBPF.",
              )
              .set(network.shortcuts.mesh.inUse ? 1 : 0);
          },
        });
  try {
    if (!identity.isManager) await workerSocket.open();
    if (identity.isManager) {
      const hasLog = existsSync(join(stateDir, "raft"));
      const through = hasLog ? undefined : (options.joinAddr ?? remembered.managers.find((each) => each !== advertise));
      await managers.startNow({ join: through, forceNewCluster: options.forceNewCluster });
    }
    for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => ended.resolve(0));
    const running = [agent.run(stop.signal), renewer.run(stop.signal)];
    for (const part of running) part.catch((thrown) => onFatal(SwarmError.from(thrown)));
    const code = await ended.promise;
    stop.abort(new SwarmError("Cancelled", "swarmd ends"));
    await Promise.allSettled(running);
    hasLeft = code === leftStatus;
    return code;
  } finally {
    stop.abort();
    await managers.stop();
    await workerSocket.close();
    await executor.close();
    await network.close();
    await metricsServer?.close();
    if (hasLeft) {
      await forgetNode(stateDir);
      log.info("this host is no node of the swarm any more", { "node.id": identity.nodeId });
    }
  }
}

/**
 * Renews a certificate that ran out while this node was off. A manager that reaches no other starts all the same: alone, or with
 * `--force-new-cluster`, it leads and certifies itself.
 */
async function regain(
  identity: NodeIdentity,
  { addresses, joinAddr, forceNewCluster }: NodeOptions & { readonly addresses: readonly string[] },
  log: Logger,
): Promise<void> {
  if (identity.isManager && forceNewCluster) return;
  const all = [...new Set([...addresses, ...(joinAddr ? [joinAddr] : [])])];
  try {
    await returnToCluster(identity, { addresses: all, clock: systemClock, log });
  } catch (thrown) {
    const error = SwarmError.from(thrown);
    if (!identity.isManager || !["Unavailable", "DeadlineExceeded"].includes(error.code)) throw thrown;
    log.warn("the expired certificate is still used: no other manager renews it", { error: error.message });
  }
}

/**
 * The identity on disk, waiting for its unlock key if it needs one; else one by joining; else, with nothing to join, that of
 * a new swarm. Undefined when swarmd is told to end while it waits for the key.
 */
async function identityOf(options: NodeOptions, { clock, log }: Surroundings): Promise<NodeIdentity | undefined> {
  const { stateDir, joinAddr, joinToken, unlockKey } = options;
  if (unlockKey === undefined && (await NodeIdentity.isLocked(stateDir))) {
    const stop = new AbortController();
    const onSignal = () => stop.abort(new SwarmError("Cancelled", "swarmd ends"));
    for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, onSignal);
    const open = (key: Uint8Array) => NodeIdentity.load(stateDir, clock, key, { allowExpired: true });
    try {
      const { awaitUnlock } = await import("@starling/manager");
      return await awaitUnlock({ path: options.listenControlApi, open, clock, log, signal: stop.signal });
    } catch (thrown) {
      if (stop.signal.aborted) return undefined;
      throw thrown;
    } finally {
      for (const name of ["SIGTERM", "SIGINT"] as const) process.off(name, onSignal);
    }
  }
  const known = await NodeIdentity.load(stateDir, clock, unlockKey, { allowExpired: true });
  if (known) {
    if (options.autolock) log.info("already a node of a swarm: --autolock is not used, see `swarmctl cluster update`");
    if (joinAddr !== undefined)
      log.info("already a node of a swarm: --join-addr is not used", { "node.id": known.nodeId });
    return known;
  }
  if (joinAddr === undefined || joinToken === undefined) return await bootstrapIdentity(stateDir, clock);
  return await joinCluster({ addresses: [joinAddr], token: joinToken, stateDir, clock, log });
}
