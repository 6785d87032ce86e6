import {
  Control,
  ListNodesRequest,
  ListNodesRequest_Filters,
  type Node,
  NodeRole,
  NodeSpec_Availability_names,
  NodeSpec_Membership,
  NodeStatus_State_names,
  RaftMemberStatus_Reachability_names,
} from "@starling/api";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { choose, inFlag } from "../flags/values.ts";
import { formatList, type ListView } from "../format/list.ts";
import { shortId, titled } from "../format/words.ts";

const roles = choose({ worker: [NodeRole.WORKER], manager: [NodeRole.MANAGER] });
const memberships = choose({ accepted: [NodeSpec_Membership.ACCEPTED], pending: [NodeSpec_Membership.PENDING] });

export const list: Command<ListFlags & FilterFlags> = {
  flags: [...listFlags, filterFlag("id, name, label (engine), node.label, role, membership")],
  async run({ client, out }, _args, flags) {
    const { ids, names, labels, other } = parseFilters(flags.filter, ["role", "membership", "node.label"]);
    const chosen = <T>(key: string, parse: (word: string) => readonly T[]) =>
      other[key] === undefined ? [] : inFlag(`--filter ${key}`, () => parse(other[key]!));
    const [nodeLabel, wanted = ""] = other["node.label"]?.split(/=(.*)/s) ?? [];
    const filters = ListNodesRequest_Filters.create({
      idPrefixes: ids,
      namePrefixes: names,
      labels,
      nodeLabels: nodeLabel === undefined ? {} : { [nodeLabel]: wanted },
      roles: chosen("role", roles),
      memberships: chosen("membership", memberships),
    });
    const { nodes } = await client.call(Control.methods.listNodes, ListNodesRequest.create({ filters }));
    const sorted = nodes.toSorted(
      (a, b) => hostnameOf(a).localeCompare(hostnameOf(b), "en", { numeric: true }) || a.id.localeCompare(b.id),
    );
    out(formatList(sorted, nodeView(flags), flags));
  },
};

export function nodeView({ trunc }: { readonly trunc?: boolean }): ListView<Node> {
  return {
    heading: ["ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION"],
    id: ({ id }) => id,
    row: (node) => [
      shortId(node.id, trunc === false),
      hostnameOf(node),
      titled(NodeStatus_State_names[node.status.state]),
      titled(NodeSpec_Availability_names[node.spec.availability]),
      managerWord(node),
      node.description?.engine?.engineVersion ?? "",
    ],
    json: (node) => ({
      id: node.id,
      hostname: hostnameOf(node),
      role: node.role === NodeRole.MANAGER ? "MANAGER" : "WORKER",
      desiredRole: node.spec.desiredRole === NodeRole.MANAGER ? "MANAGER" : "WORKER",
      status: NodeStatus_State_names[node.status.state],
      message: node.status.message,
      availability: NodeSpec_Availability_names[node.spec.availability],
      addr: node.status.addr,
      managerStatus: node.managerStatus
        ? {
            leader: node.managerStatus.leader,
            reachability: RaftMemberStatus_Reachability_names[node.managerStatus.reachability],
            addr: node.managerStatus.addr,
          }
        : null,
      engineVersion: node.description?.engine?.engineVersion ?? "",
      labels: node.spec.annotations.labels,
    }),
  };
}

export function hostnameOf(node: Node): string {
  return node.description?.hostname ?? "";
}

function managerWord({ managerStatus }: Node): string {
  if (!managerStatus) return "";
  return managerStatus.leader ? "Leader" : titled(RaftMemberStatus_Reachability_names[managerStatus.reachability]);
}
