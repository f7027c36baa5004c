#include "http/date.h"

static char *put_two(char *at, unsigned value)
{
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
    return at + 2;
}

static char *put_three(char *at, const char *text)
{
    memcpy(at, text, 3);
    return at + 3;
}

/* The civil date of a day since 1970-01-01: years begin in March, so that the leap day is last. */
static void civil_date(uint64_t day, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    uint64_t z = day + 719468; /* since 0000-03-01 */
    uint64_t era = z / 146097, of_era = z % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t from_march = (5 * of_year + 2) / 153;

    *ret_day = (unsigned)(of_year - (153 * from_march + 2) / 5 + 1);
    *ret_month = (unsigned)(from_march < 10 ? from_march + 3 : from_march - 9);
    *ret_year = (unsigned)(year + era * 400 + (*ret_month <= 2 ? 1 : 0));
}

struct str http_date_format(uint64_t wall_us, char buf[HTTP_DATE_LEN])
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t seconds = wall_us / 1000000;
    uint64_t day = seconds / 86400;
    unsigned of_day = (unsigned)(seconds % 86400), year, month, day_of_month;
    char *at = buf;

    civil_date(day, &year, &month, &day_of_month);
    at = put_three(at, days + day % 7 * 3);
    *at++ = ',';
    *at++ = ' ';
    at = put_two(at, day_of_month);
    *at++ = ' ';
    at = put_three(at, months + (month - 1) * 3);
    *at++ = ' ';
    at = put_two(at, year / 100 % 100);
    at = put_two(at, year % 100);
    *at++ = ' ';
    at = put_two(at, of_day / 3600);
    *at++ = ':';
    at = put_two(at, of_day / 60 % 60);
    *at++ = ':';
    at = put_two(at, of_day % 60);
    memcpy(at, " GMT", 4);
    return str_from(buf, HTTP_DATE_LEN);
}
