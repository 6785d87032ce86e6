// Frames of overlay networks past the bridge: from a task's device to the VXLAN device or another task of this host, and from the
// VXLAN device into the task. Maps are filled by swarmd (node-agent/src/network/shortcut-plan.ts). What is not in them, and what
// is for many (ARP, neighbour discovery), goes on to the bridge, which does the same for all.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

// A MAC on the overlay network whose VXLAN device has that index.
struct port_key {
  __u32 vxlan;
  __u8 mac[ETH_ALEN];
  __u16 unused;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 14);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct port_key);
  __type(value, __u32);
} ports SEC(".maps");  // → index of the host's end of the device of the task here that has it

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 14);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, __u32);
} vxlans SEC(".maps");  // index of the host's end of a task's device → that of its network's VXLAN device

// Whom the frame is for, unless it is for many.
static __always_inline bool destination(struct __sk_buff *skb, struct port_key *key) {
  if (bpf_skb_load_bytes(skb, 0, key->mac, ETH_ALEN) < 0) return false;
  return (key->mac[0] & 1) == 0;
}

// Into the task as if the device's other end had got the frame from here, with no queue between.
static __always_inline int into_task(struct __sk_buff *skb, __u32 device) {
  // Judged by the MAC of the device that it came by, it is another host's.
  if (skb->pkt_type == PACKET_OTHERHOST && bpf_skb_change_type(skb, PACKET_HOST) != 0) return TC_ACT_UNSPEC;
  skb->mark = 0;
  return bpf_redirect_peer(device, 0);
}

SEC("tc")
int starling_from_task(struct __sk_buff *skb) {
  __u32 device = skb->ifindex;
  __u32 *vxlan = bpf_map_lookup_elem(&vxlans, &device);
  struct port_key key = {};
  if (!vxlan || !destination(skb, &key)) return TC_ACT_UNSPEC;
  key.vxlan = *vxlan;
  __u32 *port = bpf_map_lookup_elem(&ports, &key);
  if (!port) return bpf_redirect(*vxlan, 0);
  return *port == device ? TC_ACT_UNSPEC : into_task(skb, *port);
}

SEC("tc")
int starling_from_vxlan(struct __sk_buff *skb) {
  struct port_key key = {};
  if (!destination(skb, &key)) return TC_ACT_UNSPEC;
  key.vxlan = skb->ifindex;
  __u32 *port = bpf_map_lookup_elem(&ports, &key);
  return port ? into_task(skb, *port) : TC_ACT_UNSPEC;
}

char program_license[] SEC("license") = "Apache-2.0";
