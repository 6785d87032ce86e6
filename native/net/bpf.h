// eBPF objects as libbpf.so.1 (by dlopen) loads them, maps that are filled from TypeScript, and the system calls used with them.
#pragma once

#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "unique_fd.h"

namespace starling::net {

// Throws std::runtime_error with errno's text.
[[noreturn]] void FailBpf(const std::string& operation);

// All zero, as the kernel wants what is not used.
bpf_attr BpfAttributes();
long Bpf(int command, bpf_attr& attributes);
uint64_t BpfPointer(const void* pointer);
// `value` may be null for a deletion.
long MapCall(int command, int map, const void* key, void* value);

template <typename Info>
bool ReadBpfInfo(int fd, Info& info) {
  bpf_attr attributes = BpfAttributes();
  attributes.info.bpf_fd = static_cast<uint32_t>(fd);
  attributes.info.info_len = sizeof info;
  attributes.info.info = BpfPointer(&info);
  return Bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) == 0;
}

// An object file's programs and maps, which end with it unless something else holds them.
class BpfObject {
 public:
  // Reads the file. Throws std::runtime_error where libbpf is missing or does not take it.
  explicit BpfObject(const std::string& path);
  ~BpfObject();
  BpfObject(const BpfObject&) = delete;
  BpfObject& operator=(const BpfObject&) = delete;

  // Has a map that is there, of the same make, be the object's of that name. Before Load.
  void Reuse(const char* name, const bpf_map_info& info, int fd);
  // Gives programs and maps to the kernel; throws with its reason.
  void Load();

  int ProgramFd(const char* name) const;
  int MapFd(const char* name) const;

 private:
  bpf_map* Map(const char* name) const;

  bpf_object* object_;
};

// A loaded object's maps that are filled from outside, by number.
class FilledMaps {
 public:
  FilledMaps(const BpfObject& object, const std::vector<std::string>& names);

  // Does changes in order: a byte 1 (set) or 0 (delete; what is not there is fine), a byte that numbers the map, the key and, to
  // set, the value. Throws at the first that the kernel refuses.
  void Change(const std::vector<uint8_t>& changes) const;

  // All of a map: keys, each with its value after it.
  std::vector<uint8_t> Read(unsigned number) const;

 private:
  struct Map {
    std::string name;
    int fd;
    uint32_t key_size, value_size;
  };
  std::vector<Map> maps_;
};

}  // namespace starling::net
