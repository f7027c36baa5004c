/* Outlier detection: who is left out, for how long, and who never. */
#include "proxy/upstream/upstream_test_try.h"

/* --- health --- */

static void test_ejection_and_return(void **state)
{
    struct cluster model = cluster_defaults();
    model.outlier.is_on = true;
    rig_open(2);
    set_simple(&model, 2);
    rig.origins[0].status = 503;
    many(8);
    assert_false(host_at(0)->is_ejected);
    many(1);
    assert_true(host_at(0)->is_ejected);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_EJECTED), 1);
    unsigned before = rig.origins[0].requests;
    many(2);
    assert_int_equal(rig.origins[0].requests, before);
    rig.origins[0].status = 200;
    rig_run(45ull * SECOND);
    assert_false(host_at(0)->is_ejected);
    many(2);
    assert_true(rig.origins[0].requests > before);
    /* The second time it stays out twice as long. */
    rig.origins[0].status = 500;
    many(10);
    assert_true(host_at(0)->is_ejected);
    rig_run(30ull * SECOND);
    assert_true(host_at(0)->is_ejected);
    rig_run(35ull * SECOND);
    assert_false(host_at(0)->is_ejected);
    assert_int_equal(metrics_get(rig.metrics, COUNTER_EJECTED), 0);
    rig_close();
}

static void test_max_ejection_percent(void **state)
{
    struct cluster model = cluster_defaults();
    model.outlier.is_on = true;
    model.outlier.max_ejection_percent = 50;
    rig_open(4);
    set_simple(&model, 4);
    for (unsigned i = 0; i < 4; i++)
        rig.origins[i].status = 503;
    many(60);
    assert_int_equal(the_cluster()->share->ejected, 2);
    rig_close();
}

/* The last host is asked, however ill: nobody would be left. */
static void test_the_last_host_stays(void **state)
{
    struct cluster model = cluster_defaults();
    model.outlier.is_on = true;
    model.outlier.max_ejection_percent = 50;
    rig_open(2);
    set_simple(&model, 2);
    rig.origins[0].status = 503;
    many(12);
    assert_true(host_at(0)->is_ejected);
    struct endpoint only = host_at(0)->info.endpoint[0];
    set_endpoints("c", &only, 1);
    assert_int_equal(the_cluster()->share->ejected, 0);
    many(12);
    assert_int_equal(the_cluster()->share->ejected, 0);
    rig_close();
}

static void test_ejections_end_with_detection(void **state)
{
    struct cluster model = cluster_defaults();
    model.outlier.is_on = true;
    rig_open(2);
    set_simple(&model, 2);
    rig.origins[0].status = 503;
    many(10);
    assert_int_equal(the_cluster()->share->ejected, 1);
    /* Changes that come faster than the interval do not put the return off. */
    for (unsigned i = 0; i < 20; i++) {
        set_cluster("c", &model);
        rig_run(2 * SECOND);
    }
    assert_int_equal(the_cluster()->share->ejected, 0);
    many(10);
    assert_int_equal(the_cluster()->share->ejected, 1);
    model.outlier.is_on = false;
    set_cluster("c", &model);
    assert_int_equal(the_cluster()->share->ejected, 0);
    rig_close();
}

static void test_cancel_harms_nobody(void **state)
{
    struct cluster model = cluster_defaults();
    model.outlier.is_on = true;
    rig_open(1);
    set_simple(&model, 1);
    rig.origins[0].mode = ORIGIN_HANGS;
    for (unsigned i = 0; i < 8; i++) {
        struct tried t = {0};
        begin(&t);
        rig_run(10 * MS);
        call_cancel(t.call);
        rig_run(10 * MS);
        assert_true(t.is_over);
        forget(&t);
    }
    assert_int_equal(host_failures(0), 0);
    rig.origins[0].mode = ORIGIN_RESETS;
    many(2);
    assert_int_equal(host_failures(0), 2);
    rig_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ejection_and_return),
        cmocka_unit_test(test_max_ejection_percent),
        cmocka_unit_test(test_the_last_host_stays),
        cmocka_unit_test(test_ejections_end_with_detection),
        cmocka_unit_test(test_cancel_harms_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
