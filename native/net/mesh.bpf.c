// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Segments of established connections of the routing mesh past the host's IP layer: at the entry, from the network card to the mesh's
// device and back, with the translation that the tracked connection tells; at the task's host, between the mesh's device and
// the task. Maps are filled by swarmd (node-agent/src/network/mesh-plan.ts). Connections begin, end and are judged by the IP
// layer and its rules: what is not an ordinary segment of a connection that conntrack has as established goes on to these.
// (The kernel lends look-ups of tracked connections and routes to programs under a licence of its own alone.)
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include <stddef.h>

// What is read of a tracked connection (linux/netfilter.h, net/netfilter/nf_conntrack.h), wherever the kernel has it.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
union nf_inet_addr {
  __be32 ip;
};
struct nf_conntrack_man {
  union nf_inet_addr u3;
  union {
    __be16 all;
  } u;
};
struct nf_conntrack_tuple {
  struct nf_conntrack_man src;
  struct {
    union nf_inet_addr u3;
    union {
      __be16 all;
    } u;
  } dst;
};
struct nf_conntrack_tuple_hash {
  struct nf_conntrack_tuple tuple;
};
struct ip_ct_tcp {
  __u8 state;
};
union nf_conntrack_proto {
  struct ip_ct_tcp tcp;
};
struct nf_conn {
  struct nf_conntrack_tuple_hash tuplehash[2];
  unsigned long status;
  __u32 mark;
  union nf_conntrack_proto proto;
};
#pragma clang attribute pop

// As of Linux 5.18; kernels since 6.11, which have 4 bytes more, take it too.
struct bpf_ct_opts {
  __s32 netns_id;
  __s32 error;
  __u8 l4proto;
  __u8 dir;
  __u8 reserved[2];
};
struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size,
                                  struct bpf_ct_opts *options, __u32 options_size) __ksym;
int bpf_ct_change_timeout(struct nf_conn *connection, __u32 milliseconds) __ksym;
void bpf_ct_release(struct nf_conn *connection) __ksym;

enum { kInternet = 2 };  // AF_INET
enum { kOriginal, kReply };
// Of linux/netfilter/nf_conntrack_common.h and nf_conntrack_tcp.h.
enum { kAssured = 1 << 2, kSourceNat = 1 << 4, kDestinationNat = 1 << 5, kAdjusted = 1 << 6, kDying = 1 << 9, kHelped = 1 << 13 };
enum { kEstablished = 3 };

// An address of a task, or of a node in the mesh, is a.b.c.d and its MAC 02:42:a:b:c:d (node-agent/src/network/names.ts).
struct settings {
  __u32 device;    // the mesh's
  __be32 address;  // of this node in the mesh
  // How long conntrack keeps an established connection that is silent: all of it acknowledged, or not. Milliseconds.
  __u32 silent, unacknowledged;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct settings);
} mesh SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 16);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __be32);
  __type(value, __be32);
} far SEC(".maps");  // address of a task elsewhere → of its node in the mesh

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 14);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __be32);
  __type(value, __u32);
} near SEC(".maps");  // address of a task here → index of the host's end of its device

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 14);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, __be32);
} owners SEC(".maps");  // the other way round

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 14);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, __be32);
} nodes SEC(".maps");  // mark of connections that came in by a node → its address in the mesh

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 10);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, __u32);
} cards SEC(".maps");  // index of a device by which clients come → 1

// In place, without options. Null when a packet is too short for them.
struct headers {
  struct ethhdr *eth;
  struct iphdr *ip;
  struct tcphdr *tcp;
};

struct segment {
  __be32 source, destination;
  __be16 source_port, destination_port;
  bool has_data;
};

// A tracked connection, as this host has it.
struct known {
  bool is_reply;
  bool is_translated;  // its destination is, and nothing else of it
  __u32 mark;
  // Whom the client asks, and the task that answers.
  __be32 asked, task;
  __be16 asked_port, task_port;
};

enum { kHeaders = sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr) };

static __always_inline struct headers headers_of(struct __sk_buff *skb) {
  struct ethhdr *eth = (void *)(long)skb->data;
  struct iphdr *ip = (void *)(eth + 1);
  struct tcphdr *tcp = (void *)(ip + 1);
  if ((void *)(tcp + 1) > (void *)(long)skb->data_end) eth = NULL;
  return (struct headers){eth, ip, tcp};
}

// Of a packet as it comes by a device, which may have left them in pages of the card's.
static __always_inline struct headers headers_from(struct __sk_buff *skb) {
  const struct headers at = headers_of(skb);
  if (at.eth || skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_pull_data(skb, kHeaders)) return at;
  return headers_of(skb);
}

// Whether these are an ordinary segment's for this host.
static __always_inline bool is_ordinary(const struct __sk_buff *skb, const struct headers *at) {
  if (skb->pkt_type != PACKET_HOST || skb->vlan_present) return false;
  if (at->eth->h_proto != bpf_htons(ETH_P_IP) || at->ip->protocol != IPPROTO_TCP) return false;
  // No options, no fragment, some way to go yet.
  if (at->ip->version != 4 || at->ip->ihl != 5 || (at->ip->frag_off & bpf_htons(0x3fff)) || at->ip->ttl <= 1) return false;
  return at->tcp->ack && !at->tcp->syn && !at->tcp->fin && !at->tcp->rst && !at->tcp->urg;
}

// Whether the segment is of an established connection, which then is heard of.
static __always_inline bool find(struct __sk_buff *skb, const struct segment *segment, const struct settings *settings, struct known *known) {
  struct bpf_sock_tuple tuple = {};
  tuple.ipv4.saddr = segment->source;
  tuple.ipv4.daddr = segment->destination;
  tuple.ipv4.sport = segment->source_port;
  tuple.ipv4.dport = segment->destination_port;
  struct bpf_ct_opts options = {.netns_id = -1, .l4proto = IPPROTO_TCP};
  struct nf_conn *connection = bpf_skb_ct_lookup(skb, &tuple, sizeof tuple.ipv4, &options, sizeof options);
  if (!connection) return false;
  const unsigned long status = connection->status;
  const bool is_fit = (status & kAssured) && !(status & (kSourceNat | kAdjusted | kDying | kHelped)) &&
                      connection->proto.tcp.state == kEstablished;
  if (is_fit) {
    known->is_reply = options.dir == kReply;
    known->is_translated = status & kDestinationNat;
    known->mark = connection->mark;
    const struct nf_conntrack_tuple *original = &connection->tuplehash[kOriginal].tuple;
    known->asked = original->dst.u3.ip;
    known->asked_port = original->dst.u.all;
    known->task = connection->tuplehash[kReply].tuple.src.u3.ip;
    known->task_port = connection->tuplehash[kReply].tuple.src.u.all;
    // The last segment of a silent connection is an acknowledgement alone, unless one of its ends is gone (tcp_packet in
    // nf_conntrack_proto_tcp.c looks at numbers for that).
    bpf_ct_change_timeout(connection, segment->has_data ? settings->unacknowledged : settings->silent);
  }
  bpf_ct_release(connection);
  return is_fit;
}

static __always_inline struct settings *settings_of(void) {
  const __u32 first = 0;
  struct settings *settings = bpf_map_lookup_elem(&mesh, &first);
  return settings && settings->device ? settings : NULL;
}

static __always_inline struct segment segment_of(const struct headers *at) {
  const bool has_data = bpf_ntohs(at->ip->tot_len) != sizeof(struct iphdr) + at->tcp->doff * 4;
  return (struct segment){at->ip->saddr, at->ip->daddr, at->tcp->source, at->tcp->dest, has_data};
}

// Whether it fits the device's MTU, with all that was gathered into it.
static __always_inline bool has_room(struct __sk_buff *skb, __u32 device) {
  __u32 mtu = 0;
  return bpf_check_mtu(skb, device, &mtu, 0, BPF_MTU_CHK_SEGS) == 0;
}

static __always_inline void set_mac(__u8 mac[ETH_ALEN], __be32 address) {
  mac[0] = 0x02;
  mac[1] = 0x42;
  __builtin_memcpy(mac + 2, &address, sizeof address);
}

// An IP header's checksum, for a word of it that has changed (RFC 1624).
static __always_inline __u16 resummed(__u16 sum, __u32 before, __u32 after) {
  __u32 total = (__u16)~sum;
  total += (__u16)~before + (__u16)(~before >> 16) + (__u16)after + (__u16)(after >> 16);
  total = (total & 0xffff) + (total >> 16);
  total = (total & 0xffff) + (total >> 16);
  return (__u16)~total;
}

static __always_inline void hop(struct iphdr *ip) {
  const __u16 before = *(__u16 *)&ip->ttl;
  ip->ttl--;
  ip->check = resummed(ip->check, before, *(__u16 *)&ip->ttl);
}

// What all programs begin with: an ordinary segment, and the settings by which it may go on. Null: it is none, or may not.
static __always_inline const struct settings *begin(struct __sk_buff *skb, struct segment *segment) {
  const struct headers at = headers_from(skb);
  const struct settings *settings = settings_of();
  if (!at.eth || !settings || !is_ordinary(skb, &at)) return NULL;
  *segment = segment_of(&at);
  return settings;
}

enum end { kSource, kDestination };

// Has the segment be from or for another address and port, and hop on. False: it is spoilt.
static __always_inline bool translate(struct __sk_buff *skb, enum end end, __be32 address, __be16 port, __be32 to, __be16 to_port) {
  enum { kTcpSum = sizeof(struct ethhdr) + sizeof(struct iphdr) + offsetof(struct tcphdr, check) };
  if (bpf_l4_csum_replace(skb, kTcpSum, address, to, BPF_F_PSEUDO_HDR | sizeof address) ||
      bpf_l4_csum_replace(skb, kTcpSum, port, to_port, sizeof port))
    return false;
  const struct headers at = headers_of(skb);
  if (!at.eth) return false;
  if (end == kSource) {
    at.ip->saddr = to;
    at.tcp->source = to_port;
  } else {
    at.ip->daddr = to;
    at.tcp->dest = to_port;
  }
  at.ip->check = resummed(at.ip->check, address, to);
  hop(at.ip);
  return true;
}

// By the mesh, to a node there.
static __always_inline int to_node(struct __sk_buff *skb, const struct settings *settings, __be32 node) {
  const struct headers at = headers_of(skb);
  if (!at.eth) return TC_ACT_SHOT;
  set_mac(at.eth->h_dest, node);
  set_mac(at.eth->h_source, settings->address);
  skb->mark = 0;
  return bpf_redirect(settings->device, 0);
}

// From a client: to a task elsewhere.
SEC("tc")
int starling_from_card(struct __sk_buff *skb) {
  struct segment segment;
  struct known known;
  const struct settings *settings = begin(skb, &segment);
  if (!settings || !find(skb, &segment, settings, &known) || known.is_reply || !known.is_translated) return TC_ACT_UNSPEC;
  const __be32 *node = bpf_map_lookup_elem(&far, &known.task);
  if (!node || !has_room(skb, settings->device)) return TC_ACT_UNSPEC;
  if (!translate(skb, kDestination, known.asked, known.asked_port, known.task, known.task_port)) return TC_ACT_SHOT;
  return to_node(skb, settings, *node);
}

// From another node, to a task here.
static __always_inline int into_task(struct __sk_buff *skb, const struct segment *segment, const struct known *known) {
  const __u32 *device = bpf_map_lookup_elem(&near, &segment->destination);
  const __be32 *node = bpf_map_lookup_elem(&nodes, &known->mark);
  if (!device || !node || known->is_translated || !has_room(skb, *device)) return TC_ACT_UNSPEC;
  const struct headers at = headers_of(skb);
  // Replies follow where it came in by: another node than before is the rules' to note.
  if (!at.eth || *(__be32 *)(at.eth->h_source + 2) != *node) return TC_ACT_UNSPEC;
  set_mac(at.eth->h_dest, segment->destination);
  __builtin_memset(at.eth->h_source, 0xee, ETH_ALEN);
  hop(at.ip);
  skb->mark = 0;
  return bpf_redirect_peer(*device, 0);
}

// From a task elsewhere, to who asked for it by this node.
static __always_inline int to_client(struct __sk_buff *skb, const struct segment *segment, const struct known *known) {
  if (!known->is_translated || !bpf_map_lookup_elem(&far, &known->task)) return TC_ACT_UNSPEC;
  struct bpf_fib_lookup way = {
    .family = kInternet,
    .l4_protocol = IPPROTO_TCP,
    .sport = segment->source_port,
    .dport = segment->destination_port,
    .ifindex = skb->ifindex,
    .ipv4_src = segment->source,
    .ipv4_dst = segment->destination,
  };
  if (bpf_fib_lookup(skb, &way, sizeof way, 0) != BPF_FIB_LKUP_RET_SUCCESS) return TC_ACT_UNSPEC;
  const __u32 card = way.ifindex;
  if (!bpf_map_lookup_elem(&cards, &card) || !has_room(skb, card)) return TC_ACT_UNSPEC;
  if (!translate(skb, kSource, known->task, known->task_port, known->asked, known->asked_port)) return TC_ACT_SHOT;
  skb->mark = 0;
  // The neighbour's state goes on as by any packet: it is asked again when it has been silent.
  struct bpf_redir_neigh next = {.nh_family = kInternet, .ipv4_nh = way.ipv4_dst};
  return bpf_redirect_neigh(card, &next, sizeof next, 0);
}

SEC("tc")
int starling_from_mesh(struct __sk_buff *skb) {
  struct segment segment;
  struct known known;
  const struct settings *settings = begin(skb, &segment);
  if (!settings || !find(skb, &segment, settings, &known)) return TC_ACT_UNSPEC;
  return known.is_reply ? to_client(skb, &segment, &known) : into_task(skb, &segment, &known);
}

// From a task, to the node by which it was asked.
SEC("tc")
int starling_from_routed(struct __sk_buff *skb) {
  struct segment segment;
  struct known known;
  const struct settings *settings = begin(skb, &segment);
  const __u32 device = skb->ifindex;
  const __be32 *owner = bpf_map_lookup_elem(&owners, &device);
  if (!settings || !owner || *owner != segment.source || !find(skb, &segment, settings, &known)) return TC_ACT_UNSPEC;
  if (!known.is_reply || known.is_translated || !known.mark) return TC_ACT_UNSPEC;
  const __be32 *node = bpf_map_lookup_elem(&nodes, &known.mark);
  if (!node || !has_room(skb, settings->device)) return TC_ACT_UNSPEC;
  const struct headers at = headers_of(skb);
  if (!at.eth) return TC_ACT_UNSPEC;
  hop(at.ip);
  return to_node(skb, settings, *node);
}

char program_license[] SEC("license") = "Dual MIT/GPL";
