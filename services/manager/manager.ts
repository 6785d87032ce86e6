import type { Server } from "@grpc/grpc-js";
import { createAllocator, ingressNetwork } from "@starling/allocator";
import {
  CA,
  Control,
  Dispatcher,
  Health,
  LayerSharing,
  LogBroker,
  Logs,
  NetworkDiagnosis,
  NetworkState,
  NodeAccess,
  NodeCA,
  NodeCalls,
  NodeLife,
  NodeReturn,
  NodeRole,
  NodeSelf,
  Raft,
  RaftMember,
  RaftMemberStatus,
  RaftMembership,
  RaftPeer,
  ResourceAllocator,
  Unlock,
  Watch,
  type WeightedPeer,
} from "@starling/api";
import {
  forwardToLeader,
  type Handlers,
  listenLocal,
  listenRemote,
  type ServedService,
  serve,
  shutDown,
} from "@starling/api/rpc";
import { type Clock, type Logger, type Metrics, newId, type Random, SwarmError } from "@starling/base";
import {
  type ClusterDefaults,
  clientCredentials,
  createCaServer,
  type NodeIdentity,
  newCluster,
  nextRootCa,
  refuseRemovedNodes,
  serverCredentials,
} from "@starling/ca";
import {
  createControlHandlers,
  createHealthHandlers,
  createResourceAllocatorHandlers,
  createWatchHandlers,
} from "@starling/control-api";
import {
  createDispatcher,
  createLayerSharingHandlers,
  createNetworkStateHandlers,
  createNodeCalls,
  hostAnswers,
  isOwnHost,
  weightedPeers,
} from "@starling/dispatcher";
import { createLogBroker } from "@starling/log-broker";
import { createOrchestrator } from "@starling/orchestrator";
import { defaultTiming, RaftNode, type RaftTiming } from "@starling/raft-node";
import { defaultRegistrySettings, type RegistrySettings } from "@starling/registry";
import { createScheduler } from "@starling/scheduler";
import { MemoryStore } from "@starling/store";
import { ensurePredefinedNetworks, firstManagerNode } from "./first-objects.ts";
import { RegistryResolver } from "./image-resolver.ts";
import { ManagerRoute } from "./leader-route.ts";
import { Leadership } from "./leadership.ts";
import { LoadedImagesResolver } from "./loaded-images.ts";
import { unlockedHandlers } from "./locked.ts";
import { StoreGauges } from "./metrics.ts";
import { createNetworkKeyManager } from "./network-keys.ts";
import { followRaftConfig } from "./raft-config.ts";
import { RaftKeyring } from "./raft-keys.ts";
import { createRoleManager } from "./role-manager.ts";

/** How long calls that are being answered hold up the end of a manager: Watch streams never end by themselves. */
const shutdownGraceMs = 500;

/** For a host's answer to a probe: a dead one never answers. */
const probeTimeoutMs = 900;

export interface ManagerOptions {
  readonly identity: NodeIdentity;
  readonly stateDir: string;
  /** `host:port` to listen on, and under which other nodes reach this manager. */
  readonly listenRemoteApi: string;
  readonly advertiseRemoteApi: string;
  /** Path of the socket for swarmctl. */
  readonly listenControlApi: string;
  /** A manager of the cluster to join, when this node has no raft log yet. */
  readonly join?: string | undefined;
  readonly forceNewCluster?: boolean;
  /** A new cluster begins with autolock on. */
  readonly autolock?: boolean;
  /** Of a new cluster's networks. */
  readonly newCluster?: Pick<ClusterDefaults, "defaultAddressPool" | "subnetSize" | "vxlanUdpPort">;
  readonly raftTiming?: Partial<RaftTiming>;
  /** How registries are asked what a service's image is. */
  readonly registries?: RegistrySettings;
  /** What the node does about itself, for the local socket. */
  readonly self?: Handlers<typeof NodeSelf>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** This manager's keys, which lay in the clear before, are locked from now on: time for a new TLS key. */
  readonly onLocked?: () => void;
  /** This manager was removed from the Raft group: stop it and forget its log. */
  readonly onRemoved: () => void;
  /** It cannot go on: the process has to end. */
  readonly onFatal: (error: SwarmError) => void;
}

/** A manager: its store, its part in Raft, its APIs, and the leader's loops while it leads. */
export class Manager {
  readonly #options: ManagerOptions;
  readonly #store: MemoryStore;
  readonly #raft: RaftNode;
  readonly #leadership: Leadership;
  readonly #route: ManagerRoute;
  readonly #membersListeners = new Set<() => void>();
  /** What agents are told of the managers; the same list to all. */
  #managers: readonly WeightedPeer[] | undefined;
  readonly #keyring: RaftKeyring;
  readonly #gauges: StoreGauges;
  readonly #images: RegistryResolver;
  readonly #stopping = new AbortController();
  #following: Promise<unknown> | undefined;
  #servers: Server[] = [];
  #serving = false;

  private constructor(options: ManagerOptions, keyring: RaftKeyring) {
    this.#options = options;
    this.#keyring = keyring;
    const { identity, clock, random, log } = options;
    const credentials = () => clientCredentials(identity);
    this.#store = new MemoryStore({ clock });
    this.#gauges = new StoreGauges(this.#store);
    this.#images = new RegistryResolver({ settings: options.registries ?? defaultRegistrySettings, clock });
    this.#raft = new RaftNode({
      stateDir: options.stateDir,
      nodeId: identity.nodeId,
      addr: options.advertiseRemoteApi,
      stateMachine: this.#store,
      transportCredentials: credentials,
      clock,
      random,
      log: log.with({ station: "raft" }),
      keys: keyring.keys,
      onKeysRetired: keyring.retired,
      ...(options.join === undefined ? {} : { join: { remote: options.join } }),
      ...(options.forceNewCluster ? { forceNewCluster: true } : {}),
      ...(options.raftTiming ? { timing: options.raftTiming } : {}),
      onLeadership: (leads) => (leads ? this.#leadership.lead() : this.#leadership.follow()),
      onMembers: () => this.#membersChanged(),
      onRemoved: options.onRemoved,
      onFatal: options.onFatal,
    });
    this.#store.attachProposer(this.#raft);
    this.#route = new ManagerRoute({
      ownAddress: options.advertiseRemoteApi,
      leading: () => this.#leadership.signal,
      credentials: credentials(),
      clock,
    });
    const parts = this.#leaderParts();
    this.#leadership = new Leadership({
      prepare: () => this.#ensureCluster(),
      loops: () => parts.loops,
      onBroken: (error) => options.onFatal(error),
      clock,
      log,
    });
    this.#remoteServices = parts.remote;
    this.#localServices = parts.local;
  }

  readonly #remoteServices: readonly ServedService[];
  readonly #localServices: readonly ServedService[];

  /** Opens the log, joins or makes the cluster, and serves. Rejects with what hinders it, in the user's words. */
  static async start(options: ManagerOptions): Promise<Manager> {
    const manager = new Manager(options, await RaftKeyring.open(options));
    try {
      await manager.#start();
    } catch (thrown) {
      await manager.stop();
      throw thrown;
    }
    return manager;
  }

  get store(): MemoryStore {
    return this.#store;
  }

  get raft(): RaftNode {
    return this.#raft;
  }

  get leading(): boolean {
    return this.#leadership.leading;
  }

  /** Brings this manager's gauges up to date. */
  collect(metrics: Metrics): void {
    this.#gauges.collect(metrics, this.leading);
  }

  /** Hands leadership over, ends the loops and the servers. Containers are not touched. */
  async stop(): Promise<void> {
    this.#serving = false;
    this.#stopping.abort(new SwarmError("Cancelled", "this manager stops"));
    await this.#following;
    await this.#raft.stop();
    await this.#leadership.stop();
    this.#route.close();
    this.#images.close();
    const { clock } = this.#options;
    await Promise.all(this.#servers.splice(0).map((server) => shutDown(server, { clock, graceMs: shutdownGraceMs })));
  }

  async #start(): Promise<void> {
    const { identity } = this.#options;
    const log = this.#options.log.with({ station: "rpc" });
    const organization = () => identity.organization;
    const admit = refuseRemovedNodes(() => this.#store.view((tx) => tx.clusters.get(identity.organization)));
    this.#serving = true;
    this.#servers.push(
      await listenRemote(this.#options.listenRemoteApi, serverCredentials(identity), this.#remoteServices, {
        authorize: "roles",
        organization,
        admit,
        log,
      }),
    );
    await this.#raft.start();
    const shared = { store: this.#store, raft: this.#raft, signal: this.#stopping.signal };
    const settings = { ...shared, clusterId: identity.organization, timing: this.#options.raftTiming, log };
    this.#following = Promise.all([
      this.#keyring.run(shared),
      followRaftConfig(settings),
      this.#gauges.run(this.#stopping.signal),
    ]);
    this.#servers.push(
      await listenLocal(this.#options.listenControlApi, this.#localServices, {
        authorize: "local",
        organization,
        localNodeId: () => identity.nodeId,
        log,
      }),
    );
  }

  /** The stations that only a leader runs, with their services in front of the leader proxy. */
  #leaderParts() {
    const { identity, clock, random, log } = this.#options;
    const store = this.#store;
    const shared = { store, clusterId: identity.organization, clock, random, log };
    const ca = createCaServer({ ...shared, identity });
    // The port of our own API: nodes let each other through there, and a closed one is refused by a kernel that lives.
    const probePort = Number(/:(\d+)$/.exec(this.#options.advertiseRemoteApi)?.[1] ?? 0);
    const dispatcher = createDispatcher({
      ...shared,
      probeHost: async (address) => !isOwnHost(address) && (await hostAnswers(address, probePort, probeTimeoutMs)),
      ownNodeId: identity.nodeId,
      peers: {
        current: () => (this.#managers ??= weightedPeers(this.#raft.members())),
        subscribe: (listener) => {
          this.#membersListeners.add(listener);
          return () => this.#membersListeners.delete(listener);
        },
      },
    });
    const logBroker = createLogBroker(shared);
    const nodes = createNodeCalls(shared);
    const control = createControlHandlers({
      store,
      clock,
      log,
      images: new LoadedImagesResolver({
        registry: this.#images,
        nodes: nodes.asker,
        isManager: (nodeId) => store.view((tx) => tx.nodes.get(nodeId)?.role === NodeRole.MANAGER),
        clock,
      }),
      raft: { members: () => this.#raftMembers(), canRemoveMember: (raftId) => this.#raft.canRemoveMember(raftId) },
      rootCa: { next: (cluster, wanted) => nextRootCa(cluster, wanted, { identity, clock }) },
    });
    const network = createNetworkStateHandlers(shared);
    const health = createHealthHandlers({
      Raft: () => (this.#serving ? "serving" : "not-serving"),
      ControlAPI: () => (this.#serving ? "serving" : "not-serving"),
    });
    const relayed = [
      serve(CA, forwardToLeader(CA, ca.ca, this.#route)),
      serve(NodeCA, forwardToLeader(NodeCA, ca.nodeCa, this.#route)),
      serve(NodeReturn, forwardToLeader(NodeReturn, ca.nodeReturn, this.#route)),
      serve(Dispatcher, forwardToLeader(Dispatcher, dispatcher.handlers, this.#route)),
      serve(NodeLife, forwardToLeader(NodeLife, dispatcher.nodeLife, this.#route)),
      serve(LogBroker, forwardToLeader(LogBroker, logBroker.logBroker, this.#route)),
      serve(
        ResourceAllocator,
        forwardToLeader(ResourceAllocator, createResourceAllocatorHandlers(shared), this.#route),
      ),
      serve(NodeAccess, forwardToLeader(NodeAccess, nodes.access, this.#route)),
      serve(NodeCalls, forwardToLeader(NodeCalls, nodes.nodeCalls, this.#route)),
      serve(NetworkDiagnosis, forwardToLeader(NetworkDiagnosis, network.diagnosis, this.#route)),
    ];
    const self = this.#options.self ? [serve(NodeSelf, this.#options.self)] : [];
    const answeredHere = [serve(Watch, createWatchHandlers(shared)), serve(Health, health)];
    const logs = serve(Logs, forwardToLeader(Logs, logBroker.logs, this.#route));
    const controlRelayed = serve(Control, forwardToLeader(Control, control, this.#route));
    const roles = {
      selfRaftId: () => this.#raft.raftId,
      members: () => this.#raft.members(),
      canRemoveMember: (raftId: bigint) => this.#raft.canRemoveMember(raftId),
      removeMember: (raftId: bigint) => this.#raft.removeMember(raftId),
      transferLeadership: () => this.#raft.transferLeadership(),
    };
    return {
      loops: [
        ...createOrchestrator(shared).map((loop, i) => [`orchestrator-${i}`, loop] as const),
        ["allocator", createAllocator(shared)] as const,
        ["scheduler", createScheduler(shared)] as const,
        ["dispatcher", dispatcher] as const,
        ["ca", ca] as const,
        ["log-broker", logBroker] as const,
        ["network-keys", createNetworkKeyManager(shared)] as const,
        ["role-manager", createRoleManager({ store, group: roles, clock, log })] as const,
      ],
      remote: [
        ...relayed,
        serve(NetworkState, forwardToLeader(NetworkState, network.state, this.#route)),
        serve(LayerSharing, forwardToLeader(LayerSharing, createLayerSharingHandlers(shared), this.#route)),
        serve(RaftMembership, forwardToLeader(RaftMembership, this.#raft.handlers.membership, this.#route)),
        serve(Raft, this.#raft.handlers.raft),
        serve(RaftPeer, this.#raft.handlers.peer),
        ...answeredHere,
        controlRelayed,
        logs,
      ],
      local: [...relayed, ...answeredHere, controlRelayed, logs, serve(Unlock, unlockedHandlers), ...self],
    };
  }

  /** A cluster's first leader makes its objects, from the root that the bootstrap left on disk. */
  async #ensureCluster(): Promise<void> {
    const { identity, autolock = false, log } = this.#options;
    const root = await identity.bootstrapRoot();
    if (root) {
      await this.#store.update((tx) => {
        if (tx.clusters.get(identity.organization)) return;
        const { electionTicks, heartbeatTicks } = { ...defaultTiming, ...this.#options.raftTiming };
        const defaults = {
          ...this.#options.newCluster,
          autoLockManagers: autolock,
          electionTick: electionTicks,
          heartbeatTick: heartbeatTicks,
        };
        const cluster = newCluster({ clusterId: identity.organization, rootCA: root, defaults });
        tx.clusters.create(cluster);
        tx.networks.create(ingressNetwork(newId()));
        tx.nodes.create({
          ...firstManagerNode(identity.nodeId, identity.chainPem),
          vxlanUdpPort: cluster.vxlanUdpPort,
        });
      });
      await identity.forgetRootKey();
      if (autolock) log.info("autolock is on: note down the unlock key, which `swarmctl cluster unlock-key` shows");
    }
    if (!this.#store.view((tx) => tx.clusters.get(identity.organization))) {
      throw new SwarmError("DataLoss", "the store has no cluster object: restore the state folder from a backup");
    }
    await ensurePredefinedNetworks(this.#store);
  }

  #membersChanged(): void {
    this.#managers = undefined;
    this.#route.leaderIs(this.#raft.leaderAddress());
    for (const listener of [...this.#membersListeners]) listener();
  }

  #raftMembers(): RaftMember[] {
    return this.#raft
      .members()
      .map(({ raftId, nodeId, addr, leader, reachability }) =>
        RaftMember.create({ raftId, nodeId, addr, status: RaftMemberStatus.create({ leader, reachability }) }),
      );
  }
}
