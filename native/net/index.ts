export {
  type Answer,
  closeNftSession,
  Errno,
  type NetlinkResult,
  type NftResult,
  runSteps,
  type SocketResult,
  type Step,
  type Sysctl,
} from "./addon.ts";
export { ipv4Bytes, ipv4Text, macBytes, macText, parsePrefix } from "./address.ts";
export {
  type Address,
  decodeAddresses,
  decodeForwarding,
  decodeLinks,
  decodeNeighbours,
  decodeRoutes,
  decodeRules,
  type Forwarding,
  type Link,
  type Neighbour,
  type Route,
  type Rule,
} from "./dump.ts";
export {
  type Attribute,
  decodeAttributes,
  decodeReplies,
  encodeRequests,
  Flag,
  type Reply,
  type Request,
} from "./netlink.ts";
export * as rtnetlink from "./rtnetlink.ts";
