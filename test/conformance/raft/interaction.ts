import {
  type AnyConfChange,
  ConfChangeTransition,
  type ConfState,
  describeMessage,
  describeProgressMap,
  emptyConfState,
  jointIds,
  MessageType,
  newMessage,
  parseConfChanges,
  RaftError,
  ReadOnlyOption,
  stateTypeName,
} from "raft-ts";
import { setRandomizedElectionTimeout } from "raft-ts/testing";
import { bareIds, keyAt, malformed, onlyValue, parseBool, toBool, toId, toNumber, toSize } from "./args.ts";
import type { Directive } from "./datadriven.ts";
import { defaultOptions, Environment, type NodeOptions, type Recipient, type TestNode } from "./environment.ts";
import { DirectiveError, UsageError } from "./output.ts";
import type { Handler } from "./run-file.ts";

type Run = (env: Environment, d: Directive) => void;

/** The words of Go's number parser, which some directives print. */
function invalidSyntax(kind: "Bool" | "Uint", text: string): never {
  throw new DirectiveError(`strconv.Parse${kind}: parsing ${JSON.stringify(text)}: invalid syntax`);
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const firstNode = (env: Environment, d: Directive): TestNode => env.node(toId(d, keyAt(d, 0)));

function addNodes(env: Environment, d: Directive): void {
  const count = toNumber(d, keyAt(d, 0));
  let options: NodeOptions = defaultOptions;
  let confState: ConfState = emptyConfState;
  let index = 0;
  let data = new Uint8Array(0);
  for (const { key, values } of d.args.slice(1)) {
    for (const value of values) {
      if (key === "voters") confState = { ...confState, voters: [...confState.voters, toId(d, value)] };
      else if (key === "learners") confState = { ...confState, learners: [...confState.learners, toId(d, value)] };
      else if (key === "index") {
        index = toNumber(d, value);
        options = { ...options, applied: index };
      } else if (key === "content") data = Uint8Array.from(bytesOf(value));
      else options = { ...options, ...nodeOption(d, key, value) };
    }
  }
  const bootstrap = index > 0 || data.length > 0 || confState.voters.length > 0 || confState.learners.length > 0;
  const snapshot = { data, metadata: { index, term: 0, confState } };
  for (let i = 0; i < count; i++) env.addNode(options, snapshot, bootstrap);
}

function nodeOption(d: Directive, key: string, value: string): Partial<NodeOptions> {
  switch (key) {
    case "inflight":
      return { maxInflightMsgs: toNumber(d, value) };
    case "max-committed-size-per-ready":
      return { maxCommittedSizePerReady: toSize(d, value) };
    case "async-storage-writes":
      return { asyncStorageWrites: toBool(d, value) };
    case "prevote":
      return { preVote: toBool(d, value) };
    case "checkquorum":
      return { checkQuorum: toBool(d, value) };
    case "disable-conf-change-validation":
      return { disableConfChangeValidation: toBool(d, value) };
    case "step-down-on-removal":
      return { stepDownOnRemoval: toBool(d, value) };
    case "read-only":
      if (value === "safe") return { readOnlyOption: ReadOnlyOption.ReadOnlySafe };
      if (value === "lease-based") return { readOnlyOption: ReadOnlyOption.ReadOnlyLeaseBased };
      throw new DirectiveError(`invalid read-only option ${JSON.stringify(value)}`);
    default:
      // As in the original, others are ignored.
      return {};
  }
}

function deliverMsgs(env: Environment, d: Directive): void {
  const recipients: Recipient[] = [];
  let type: MessageType | undefined;
  for (const { key, values } of d.args) {
    if (values.length === 0) recipients.push({ id: toId(d, key), drop: false });
    for (const value of values) {
      if (key === "drop") {
        const id = toId(d, value);
        if (recipients.some((r) => r.id === id)) malformed(d, `can't both deliver and drop messages to ${id}`);
        recipients.push({ id, drop: true });
      } else if (key === "type") {
        if (!Object.hasOwn(MessageType, value)) malformed(d, `unknown message type ${value}`);
        type = MessageType[value as keyof typeof MessageType];
      }
    }
  }
  if (env.deliver(recipients, type) === 0) env.output.write("no messages\n");
}

/** Run `work` for each of the given nodes, with a header and indented if there are several. */
function forNodes(header: string, work: (env: Environment, node: TestNode) => void): Run {
  return (env, d) => {
    const nodes = bareIds(d).map((id) => env.node(id));
    for (const node of nodes) {
      if (nodes.length === 1) work(env, node);
      else section(env, `> ${node.id} ${header}`, () => work(env, node));
    }
  };
}

function section(env: Environment, header: string, body: () => void): void {
  env.output.write(`${header}\n`);
  env.output.indented(body);
}

function stabilize(env: Environment, d: Directive): void {
  const before = env.output.level;
  const levels = d.args.filter(({ key }) => key === "log-level").flatMap(({ values }) => values);
  try {
    for (const level of levels) env.output.setLevel(level);
    const ids = bareIds(d);
    const nodes = ids.length > 0 ? ids.map((id) => env.node(id)) : env.nodes;
    while (stabilizeRound(env, nodes));
  } finally {
    env.output.level = before;
  }
}

/** Was there anything to do? */
function stabilizeRound(env: Environment, nodes: readonly TestNode[]): boolean {
  let busy = false;
  for (const node of nodes) {
    if (!node.raw.hasReady()) continue;
    section(env, `> ${node.id} handling Ready`, () => env.processReady(node));
    busy = true;
  }
  for (const { id } of nodes) {
    if (!env.hasMessagesFor(id)) continue;
    section(env, `> ${id} receiving messages`, () => env.deliver([{ id, drop: false }]));
    busy = true;
  }
  for (const node of nodes) {
    if (node.appendWork.length === 0) continue;
    env.output.write(`> ${node.id} processing append thread\n`);
    while (node.appendWork.length > 0) env.output.indented(() => env.processAppendThread(node));
    busy = true;
  }
  for (const node of nodes) {
    if (node.applyWork.length === 0) continue;
    env.output.write(`> ${node.id} processing apply thread\n`);
    while (node.applyWork.length > 0) env.output.indented(() => env.processApplyThread(node));
    busy = true;
  }
  return busy;
}

function raftState(env: Environment): void {
  for (const { raw } of env.nodes) {
    const { id, softState, hardState, config } = raw.status();
    const voter = jointIds(config.voters).has(id) ? "(Voter)" : "(Non-Voter)";
    env.output.write(
      `${id}: ${stateTypeName(softState.raftState)} ${voter} Term:${hardState.term} Lead:${softState.lead}\n`,
    );
  }
}

const transitions = new Map([
  ["auto", ConfChangeTransition.ConfChangeTransitionAuto],
  ["implicit", ConfChangeTransition.ConfChangeTransitionJointImplicit],
  ["explicit", ConfChangeTransition.ConfChangeTransitionJointExplicit],
]);

function proposeConfChange(env: Environment, d: Directive): void {
  let v1 = false;
  let transition: ConfChangeTransition = ConfChangeTransition.ConfChangeTransitionAuto;
  for (const { key, values } of d.args.slice(1)) {
    for (const value of values) {
      if (key === "v1") v1 = parseBool(value) ?? invalidSyntax("Bool", value);
      else if (key === "transition") {
        const given = transitions.get(value);
        if (given === undefined) throw new DirectiveError(`unknown transition ${value}`);
        transition = given;
      } else throw new DirectiveError(`unknown command ${key}`);
    }
  }
  const changes = parseConfChanges(d.input);
  let change: AnyConfChange = { transition, changes };
  if (v1) {
    if (changes.length > 1 || transition !== ConfChangeTransition.ConfChangeTransitionAuto) {
      throw new DirectiveError("v1 conf change can only have one operation and no transition");
    }
    change = changes[0] ?? malformed(d, "a v1 conf change needs one operation");
  }
  firstNode(env, d).raw.proposeConfChange(change);
}

function propose(env: Environment, d: Directive): void {
  if (d.args.length !== 2 || d.args[1]!.values.length > 0) malformed(d, "expected a node and one word");
  firstNode(env, d).raw.propose(bytesOf(keyAt(d, 1)));
}

function transferLeadership(env: Environment, d: Directive): void {
  const idOf = (key: string) => toId(d, onlyValue(d, key));
  const to = env.node(idOf("to"));
  env.node(idOf("from")).raw.transferLeader(to.id);
}

function sendSnapshot(env: Environment, d: Directive): void {
  const [from, to, ...others] = bareIds(d);
  if (from === undefined || to === undefined || others.length > 0) malformed(d, "expected two nodes");
  const { raw, history } = env.node(from);
  const { term } = raw.basicStatus().hardState;
  const m = newMessage({ type: MessageType.MsgSnap, from, to, term, snapshot: history.at(-1) });
  env.messages.push(m);
  env.output.write(describeMessage(m));
}

function reportUnreachable(env: Environment, d: Directive): void {
  const ids = bareIds(d);
  if (ids.length !== 2) {
    throw new DirectiveError("must specify exactly two node indexes: node on which to report, and reported node");
  }
  env.node(ids[0]!).raw.reportUnreachable(env.node(ids[1]!).id);
}

function forgetLeader(env: Environment, d: Directive): void {
  try {
    firstNode(env, d).raw.forgetLeader();
  } catch (err) {
    // A refusal is of no interest here; the log shows it.
    if (!(err instanceof RaftError)) throw err;
  }
}

function tick(env: Environment, d: Directive, count: (node: TestNode) => number): void {
  const node = firstNode(env, d);
  for (let i = count(node); i > 0; i--) node.raw.tick();
}

const directives: ReadonlyMap<string, Run> = new Map<string, Run>([
  ["_breakpoint", () => {}],
  ["add-nodes", addNodes],
  ["campaign", (env, d) => firstNode(env, d).raw.campaign()],
  [
    "compact",
    (env, d) => {
      const node = firstNode(env, d);
      const index = keyAt(d, 1);
      node.storage.compact(/^\d+$/.test(index) ? toNumber(d, index) : invalidSyntax("Uint", index));
      env.printLog(node);
    },
  ],
  ["deliver-msgs", deliverMsgs],
  ["process-ready", forNodes("handling Ready", (env, node) => env.processReady(node))],
  ["process-append-thread", forNodes("processing append thread", (env, node) => env.processAppendThread(node))],
  ["process-apply-thread", forNodes("processing apply thread", (env, node) => env.processApplyThread(node))],
  ["stabilize", stabilize],
  ["log-level", (env, d) => env.output.setLevel(keyAt(d, 0))],
  ["raft-log", (env, d) => env.printLog(firstNode(env, d))],
  ["raft-state", raftState],
  ["status", (env, d) => env.output.write(describeProgressMap(firstNode(env, d).raw.status().progress))],
  [
    "set-randomized-election-timeout",
    (env, d) => {
      const timeout = toNumber(d, onlyValue(d, "timeout"));
      if (timeout === 0) malformed(d, "timeout must not be 0");
      setRandomizedElectionTimeout(firstNode(env, d).raw, timeout);
    },
  ],
  ["tick-election", (env, d) => tick(env, d, (node) => node.config.electionTick)],
  ["tick-heartbeat", (env, d) => tick(env, d, (node) => node.config.heartbeatTick)],
  ["transfer-leadership", transferLeadership],
  ["forget-leader", forgetLeader],
  ["report-unreachable", reportUnreachable],
  ["propose", propose],
  ["propose-conf-change", proposeConfChange],
  ["send-snapshot", sendSnapshot],
]);

/** The directives of testdata/, on a new environment. */
export function interactionHandler(): Handler {
  const env = new Environment();
  return (d) => {
    env.output.reset();
    const run = directives.get(d.command);
    try {
      if (run === undefined) throw new DirectiveError("unknown command");
      run(env, d);
    } catch (err) {
      if (err instanceof UsageError) malformed(d, err.message);
      // Refusals are part of the output; anything else is a failure of the run.
      if (!(err instanceof RaftError) && !(err instanceof DirectiveError)) throw err;
      if (env.output.isQuiet()) return err.message;
      env.output.write(err.message);
    }
    return env.output.text === "" ? "ok" : env.output.text;
  };
}
