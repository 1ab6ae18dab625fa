// SPDX-License-Identifier: Apache-2.0
// Holds verdict.h to what it promises: that it is C17, and that its structures have the sizes that other
// builds of it expect.
#include "policy/verdict.h"

_Static_assert(sizeof(struct vmlane_policy_header) == VMLANE_POLICY_LINE, "header");
_Static_assert(sizeof(struct vmlane_policy_slot) == VMLANE_POLICY_LINE / 2, "slot");
_Static_assert(sizeof(struct vmlane_policy_node) == VMLANE_POLICY_LINE, "node");
_Static_assert(sizeof(struct vmlane_policy_endpoint) == VMLANE_POLICY_LINE, "endpoint");
_Static_assert(sizeof(struct vmlane_policy_profile) == VMLANE_POLICY_LINE, "profile");
_Static_assert(sizeof(struct vmlane_policy_rule) == 8, "rule");
_Static_assert(sizeof(struct vmlane_policy_group_class) == 8, "class of a group");
