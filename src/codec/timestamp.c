#include "base/err.h"
#include "codec/duration.h"

struct civil {
    int year, month, day;
};

/* Days since 1970-01-01 in the Gregorian calendar; years start in March, so that the leap day is
 * the last of its year. */
static int64_t days_from_civil(struct civil c)
{
    int64_t year = c.year - (c.month <= 2);
    int64_t day_of_year = (153 * (c.month + (c.month > 2 ? -3 : 9)) + 2) / 5 + c.day - 1;

    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

static struct civil civil_from_days(int64_t days)
{
    int64_t z = days + 719468, era = z / 146097, in_era = z % 146097;
    int64_t year_of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t day_of_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    int month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);

    return (struct civil){(int)(year_of_era + era * 400 + (month <= 2)), month,
                          (int)(day_of_year - (153 * shifted + 2) / 5 + 1)};
}

/* Exactly so many digits, then the byte `then`. */
static char *put_digits(char *at, unsigned value, unsigned digits, char then)
{
    for (unsigned i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    at[digits] = then;
    return at + digits + 1;
}

/* Without printf: access logs write one a line. */
struct str time_format(int64_t unix_ms, bool with_ms, char buf[TIME_TEXT_MAX])
{
    int64_t max_ms = 253402300799999; /* the end of 9999 */
    unix_ms = unix_ms < 0 ? 0 : MIN(unix_ms, max_ms);

    struct civil c = civil_from_days(unix_ms / 86400000);
    unsigned in_day = (unsigned)(unix_ms % 86400000), second = in_day / 1000;
    char *at = buf;
    at = put_digits(at, (unsigned)c.year, 4, '-');
    at = put_digits(at, (unsigned)c.month, 2, '-');
    at = put_digits(at, (unsigned)c.day, 2, 'T');
    at = put_digits(at, second / 3600, 2, ':');
    at = put_digits(at, second / 60 % 60, 2, ':');
    at = put_digits(at, second % 60, 2, with_ms ? '.' : 'Z');
    if (with_ms)
        at = put_digits(at, in_day % 1000, 3, 'Z');
    *at = '\0';
    return str_from(buf, (size_t)(at - buf));
}

/* Exactly n digits, then (unless 0) the byte `then`; RFC 3339 5.6 takes a small t too. */
static bool take_number(struct str *s, size_t n, int min, int max, char then, int *ret_value)
{
    uint64_t value;

    if (!str_to_u64(str_sub(*s, 0, n), (uint64_t)max, &value) || s->len < n || (int)value < min)
        return false;
    *s = str_skip(*s, n);
    if (then != '\0') {
        if (!str_starts_with(*s, str_from(&then, 1)) &&
            !(then == 'T' && str_starts_with(*s, STR("t"))))
            return false;
        *s = str_skip(*s, 1);
    }
    *ret_value = (int)value;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && is_leap);
}

static bool take_fraction(struct str *s, int *ret_ms)
{
    int ms = 0, scale = 100;
    size_t n = 1;

    *ret_ms = 0;
    if (s->len == 0 || s->ptr[0] != '.')
        return true;
    for (; n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9'; n++) {
        ms += (s->ptr[n] - '0') * scale;
        scale /= 10;
    }
    *s = str_skip(*s, n);
    *ret_ms = ms;
    return n > 1;
}

static bool take_offset(struct str *s, int *ret_minutes)
{
    int sign, hours, minutes;

    *ret_minutes = 0;
    if (str_eq_nocase(*s, STR("Z")))
        return true;
    if (s->len != 6 || (s->ptr[0] != '+' && s->ptr[0] != '-'))
        return false;
    sign = s->ptr[0] == '-' ? -1 : 1;
    *s = str_skip(*s, 1);
    if (!take_number(s, 2, 0, 23, ':', &hours) || !take_number(s, 2, 0, 59, '\0', &minutes))
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

int time_parse(struct str s, int64_t *ret_unix_ms)
{
    struct civil c;
    int hour, minute, second, ms, offset;

    if (!take_number(&s, 4, 1, 9999, '-', &c.year) || !take_number(&s, 2, 1, 12, '-', &c.month) ||
        !take_number(&s, 2, 1, 31, 'T', &c.day) || !take_number(&s, 2, 0, 23, ':', &hour) ||
        !take_number(&s, 2, 0, 59, ':', &minute) || !take_number(&s, 2, 0, 60, '\0', &second) ||
        !take_fraction(&s, &ms) || !take_offset(&s, &offset))
        return -ERR_SYNTAX;
    if (c.day > days_in_month(c.year, c.month))
        return -ERR_SYNTAX;
    int64_t minutes = days_from_civil(c) * 1440 + hour * 60 + minute - offset;
    *ret_unix_ms = (minutes * 60 + second) * 1000 + ms;
    return 0;
}
