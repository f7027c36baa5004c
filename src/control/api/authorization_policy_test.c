#include "control/api/authorization_policy.h"
#include "control/api/test_priv.h"

#define AP "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a }\n"

static const struct api_authorization_policy *policy_of(const struct parsed *p)
{
    return parsed_doc(p, 0)->spec.authorization_policy;
}

/* What is absent and what is empty decide between nobody and everybody. */
static void test_emptiness(void **state)
{
    static const struct {
        const char *text;
        size_t rule_count;
    } cases[] = {
        {AP, 0},
        {AP "spec: {}\n", 0},
        {AP "spec:\n", 0},
        {AP "spec: { rules: [] }\n", 0},
        {AP "spec: { rules: }\n", 0},
        {AP "spec: { rules: [ {} ] }\n", 1},
        {AP "spec: { action: DENY, rules: [ {}, {} ] }\n", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p = parse_good(cases[i].text, 1);
        assert_int_equal(policy_of(&p)->rule_count, cases[i].rule_count);
        for (size_t j = 0; j < cases[i].rule_count; j++) {
            const struct api_auth_rule *r = &policy_of(&p)->rules[j];
            assert_int_equal(r->source_count + r->operation_count + r->condition_count, 0);
        }
        parsed_free(&p);
    }
}

static void test_fields(void **state)
{
    struct parsed p = parse_good(
        AP "spec:\n"
           "  selector: { matchLabels: { app: payment } }\n"
           "  action: DENY\n"
           "  rules:\n"
           "    - from:\n"
           "        - source:\n"
           "            principals: [ spiffe://mesh.local/ns/a/sa/b, \"mesh.local/ns/c/*\", "
           "\"*/sa/d\", \"*\" ]\n"
           "            notPrincipals: [ mesh.local/ns/a/sa/e ]\n"
           "            namespaces: [ shop ]\n"
           "            ipBlocks: [ 10.0.0.0/8, \"fd00::1\" ]\n"
           "            notIpBlocks: [ 10.1.2.3 ]\n"
           "        - source: { notNamespaces: [ \"kube-*\" ] }\n"
           "      to: [ { operation: { hosts: [ a ], ports: [ \"8080\", 81 ], methods: [ GET ],\n"
           "            paths: [ \"/admin/*\" ], notPaths: [ /ok ] } } ]\n"
           "      when:\n"
           "        - { values: [ beta ], key: \"request.headers[X-User]\" }\n"
           "        - { key: source.ip, notValues: [ 10.0.0.0/8 ] }\n"
           "        - { key: destination.port, values: [ 8080 ] }\n"
           "        - { key: source.principal, values: [ spiffe://mesh.local/ns/a/sa/b ] }\n"
           "    - to: [ { operation: { ports: [ \"80\" ] } } ]\n",
        1);
    const struct api_authorization_policy *policy = policy_of(&p);
    const struct api_auth_rule *r = policy->rules;
    assert_int_equal(policy->action, API_AUTH_DENY);
    assert_str(policy->selector.labels.v[0].value, "payment");
    assert_int_equal(r->source_count, 2);
    const struct api_auth_source *s = r->sources;
    assert_int_equal(s->principals.len, 4);
    assert_str(s->principals.v[0].value, "mesh.local/ns/a/sa/b");
    assert_int_equal(s->principals.v[0].kind, API_MATCH_EXACT);
    assert_int_equal(s->principals.v[1].kind, API_MATCH_PREFIX);
    assert_str(s->principals.v[1].value, "mesh.local/ns/c/");
    assert_int_equal(s->principals.v[2].kind, API_MATCH_SUFFIX);
    assert_str(s->principals.v[2].value, "/sa/d");
    assert_int_equal(s->principals.v[3].kind, API_MATCH_PRESENT);
    assert_int_equal(s->not_principals.len, 1);
    assert_int_equal(s->ip_blocks.len, 2);
    assert_int_equal(s->not_ip_blocks.len, 1);
    assert_int_equal(r->sources[1].not_namespaces.v[0].kind, API_MATCH_PREFIX);
    assert_int_equal(r->operations[0].ports.v[0], 8080);
    assert_int_equal(r->operations[0].ports.v[1], 81);
    assert_int_equal(r->operations[0].not_paths.len, 1);
    assert_int_equal(r->condition_count, 4);
    assert_int_equal(r->conditions[0].key, API_AUTH_KEY_REQUEST_HEADER);
    assert_str(r->conditions[0].header, "x-user");
    assert_int_equal(r->conditions[1].not_values.len, 1);
    assert_str(r->conditions[2].values.v[0].value, "8080");
    assert_str(r->conditions[3].values.v[0].value, "mesh.local/ns/a/sa/b");
    assert_true(api_auth_rule_is_http(&r[0]));
    assert_false(api_auth_rule_is_http(&r[1]));
    assert_true(has_finding(&p, API_WARNING, "without spiffe://"));
    parsed_free(&p);
}

static void test_warnings(void **state)
{
    static const struct {
        const char *spec, *words;
    } cases[] = {
        {"{ action: DENY }", "denies nothing"},
        {"{ rules: [ { from: [ { source: { principals: [ orders ] } } ] } ] }",
         "no identity looks like"},
        {"{ rules: [ { to: [ { operation: { paths: [ \"/a/*/b\" ] } } ] } ] }", "the star inside"},
        {"{ rules: [ { to: [ { operation: { paths: [ \"*a*\" ] } } ] } ] }", "the first star"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        snprintf(text, sizeof text, AP "spec: %s\n", cases[i].spec);
        struct parsed p = parse_good(text, 1);
        assert_true(has_finding(&p, API_WARNING, cases[i].words));
        parsed_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_emptiness),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_warnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
