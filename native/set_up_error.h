// Why a set-up call failed. Set-up calls throw it (hot calls return -errno instead); the binding turns it into a
// JavaScript error with code, errno, syscall and a remedy.
#pragma once

#include <string>

namespace selvage {

struct SetUpError {
  const char* syscall;   // "TUNSETIFF"
  std::string subject;   // "flannel0"
  int errorNumber;       // errno, saved on the line after the call
};

/// What the operator can do about it, or "" where nothing more can be said than the errno does.
const char* remedyFor(const SetUpError& error);

}  // namespace selvage
