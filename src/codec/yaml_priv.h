/* Between the files of yaml. */
#pragma once

#include "codec/yaml.h"

/* As yaml_from_json, with bounds: NULL when the tree is deeper or has more than *nodes_max nodes.
 */
struct yaml_node *yaml_from_json_within(struct arena *a, const struct json *v, uint32_t depth_max,
                                        const uint32_t *nodes_max);
