#include "http/h1_test_util.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#define GET "GET / HTTP/1.1\r\n"
#define H "Host: a\r\n"
#define E "\r\n"
#define OK200 "HTTP/1.1 200 OK\r\n"

struct row {
    const char *input, *want;
    size_t len; /* when the input holds a NUL */
};

#define PAD "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define NUL(input, want) input, want, sizeof(input) - 1

static const struct row requests[] = {
    /* --- accepted --- */
    {GET H E, "GET http a / 11 | none persistent"},
    {"GET /a/b?c=d&e HTTP/1.1\r\nHost: Shop.Example:8080\r\n\r\n",
     "GET http shop.example:8080 /a/b?c=d&e 11 | none persistent"},
    {GET "hOsT:a\r\nX-Foo_Bar.9:  v w \t\r\nACCEPT:*/*\r\n\r\n",
     "GET http a / 11 | x-foo_bar.9=v w | accept=*/* | none persistent"},
    {GET H "Empty:\r\nBlank: \t \r\n\r\n", "GET http a / 11 | empty= | blank= | none persistent"},
    {GET H "X: \x80\xff\r\n\r\n", "GET http a / 11 | x=\x80\xff | none persistent"},
    {GET H "X: a\tb\r\n\r\n", "GET http a / 11 | x=a\tb | none persistent"},
    {GET H "X: :a:b\r\n\r\n", "GET http a / 11 | x=:a:b | none persistent"},
    {GET H "!#$%&'*+-.^_`|~09: v\r\n\r\n",
     "GET http a / 11 | !#$%&'*+-.^_`|~09=v | none persistent"},
    {"m-search / HTTP/1.1\r\n" H E, "m-search http a / 11 | none persistent"},
    {"OPTIONS * HTTP/1.1\r\n" H E, "OPTIONS http a * 11 | none persistent"},
    {"GET http://A.example/p?q HTTP/1.1\r\nHost: a.Example\r\n\r\n",
     "GET http a.example /p?q 11 | none persistent"},
    {"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http a:80 / 11 | none persistent"},
    {"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET http a / 11 | none persistent"},
    {"OPTIONS http://b HTTP/1.1\r\n" H E, "OPTIONS http b * 11 | none persistent"},
    {"OPTIONS http://b/ HTTP/1.1\r\n" H E, "OPTIONS http b / 11 | none persistent"},
    {"GET http://b:81/x HTTP/1.1\r\n" H E, "GET http b:81 /x 11 | none persistent"},
    {"GET http://b HTTP/1.0\r\n\r\n", "GET http b / 10 | none"},
    {GET "Host: [2001:db8::1]:80\r\n\r\n", "GET http [2001:db8::1]:80 / 11 | none persistent"},
    {"GET /a/../b HTTP/1.1\r\n" H E, "GET http a /b 11 | none persistent"},
    {"GET /a/./%7Eb?x=%2e HTTP/1.1\r\n" H E, "GET http a /a/~b?x=%2e 11 | none persistent"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", "POST http a / 11 | length 5 persistent"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "POST http a / 11 | none 0 persistent"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n",
     "POST http a / 11 | length 9223372036854775807 persistent"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n",
     "POST http a / 11 | chunked persistent"},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n",
     "POST http a / 11 | length 5 persistent continue"},
    {GET H "Expect: 100-continue\r\n\r\n", "GET http a / 11 | none persistent"},
    {GET H "Connection: close\r\n\r\n", "GET http a / 11 | none"},
    {GET H "Connection: Keep-Alive, Close\r\n\r\n", "GET http a / 11 | none"},
    {GET H "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n",
     "GET http a / 11 | none persistent"},
    {GET H "Connection: , x-hop ,,\r\nX-Hop: 1\r\nX-Stay: 2\r\n\r\n",
     "GET http a / 11 | x-stay=2 | none persistent"},
    {GET H "x-hop: 1\r\nConnection: X-HOP\r\n\r\n", "GET http a / 11 | none persistent"},
    {GET H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n\r\n",
     "GET http a / 11 | none persistent"},
    {GET H "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     "GET http a / 11 | none persistent"},
    {GET H "Proxy-Connection: close\r\nTrailer: X\r\n\r\n", "GET http a / 11 | none persistent"},
    {GET H "TE: gzip;q=0.5, Trailers\r\n\r\n", "GET http a / 11 | none persistent trailers"},
    {GET H "TE: gzip\r\n\r\n", "GET http a / 11 | none persistent"},
    {GET H "Content-Type: application/grpc+proto\r\n\r\n",
     "GET http a / 11 | content-type=application/grpc+proto | none persistent grpc"},
    {GET H "Content-Type: application/grpc-web\r\n\r\n",
     "GET http a / 11 | content-type=application/grpc-web | none persistent"},
    {"GET / HTTP/1.0\r\n\r\n", "GET http  / 10 | none"},
    {"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
     "GET http a / 10 | none persistent"},
    {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
     "POST http  / 10 | length 1"},
    {GET H E "GET", "GET http a / 11 | none persistent"},
    /* --- not complete --- */
    {"", "more"},
    {"G", "more"},
    {GET, "more"},
    {GET H, "more"},
    {GET H "\r", "more"},
    /* --- request line --- */
    {"\r\n", "400 start_line_empty"},
    {"\x16\x03\x01", "400 start_line_invalid"},
    {" GET / HTTP/1.1\r\n" H E, "400 start_line_invalid"},
    {"G@T / HTTP/1.1\r\n" H E, "400 method_invalid"},
    {"GET\t/ HTTP/1.1\r\n" H E, "400 method_invalid"},
    {"GET\r\n" H E, "400 method_invalid"},
    {"GETAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" H E, "501 method_unsupported"},
    {"GET  / HTTP/1.1\r\n" H E, "400 request_line_invalid"},
    {"GET / HTTP/1.1 \r\n" H E, "400 request_line_invalid"},
    {"GET /  HTTP/1.1\r\n" H E, "400 version_invalid"},
    {"GET / x HTTP/1.1\r\n" H E, "400 version_invalid"},
    {"GET /\tHTTP/1.1\r\n" H E, "400 request_line_invalid"},
    {"GET /\r\n" H E, "400 request_line_invalid"},
    {"GET / \r\n" H E, "400 version_invalid"},
    {"GET / http/1.1\r\n" H E, "400 version_invalid"},
    {"GET / HTTP/11\r\n" H E, "400 version_invalid"},
    {"GET / HTTP/1.1x\r\n" H E, "400 request_line_invalid"},
    {"GET / HTTP/1.\r\n" H E, "400 version_invalid"},
    {"GET / HTTP/2.0\r\n" H E, "505 version_unsupported"},
    {"PRI * HTTP/2.0\r\n\r\n", "505 version_unsupported"},
    {"GET / HTTP/1.2\r\n" H E, "505 version_unsupported"},
    {"GET / HTTP/0.9\r\n" H E, "505 version_unsupported"},
    {"GET / HTTP/1.1\n" H E, "400 line_ends_without_cr"},
    {"GET / HTTP/1.1\r\r\n" H E, "400 request_line_invalid"},
    {"GET /\rx HTTP/1.1\r\n" H E, "400 request_line_invalid"},
    /* --- request target --- */
    {"CONNECT a:80 HTTP/1.1\r\n" H E, "501 connect_unsupported"},
    {"GET * HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET a HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET a:80 HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET ?a HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET ftp://a/ HTTP/1.1\r\n" H E, "400 scheme_unsupported"},
    {"GET http:// HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET https://a/ HTTP/1.1\r\n" H E, "421 scheme_misdirected"},
    {"GET / HTTP/1.1\r\nHost: a:080\r\n\r\n", "400 host_invalid"},
    {"GET http://u@a/ HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", "400 host_invalid"},
    {"GET http://a,b/ HTTP/1.1\r\n" H E, "400 request_target_invalid"},
    {"GET http://a/ HTTP/1.1\r\n\r\n", "400 host_missing"},
    {"GET /a#b HTTP/1.1\r\n" H E, "400 path_invalid"},
    {"GET /a?b#c HTTP/1.1\r\n" H E, "400 path_invalid"},
    {"GET /\x80 HTTP/1.1\r\n" H E, "400 path_invalid"},
    {"GET /?\xc3\xa4 HTTP/1.1\r\n" H E, "400 path_invalid"},
    {"GET /%zz HTTP/1.1\r\n" H E, "400 path_invalid"},
    {"GET /%00 HTTP/1.1\r\n" H E, "400 path_invalid"},
    {"GET /.. HTTP/1.1\r\n" H E, "400 path_invalid"},
    {NUL("GET /a\0b HTTP/1.1\r\n" H E, "400 request_line_invalid")},
    {"GET /\x7f HTTP/1.1\r\n" H E, "400 request_line_invalid"},
    /* --- Host --- */
    {GET E, "400 host_missing"},
    {GET H H E, "400 host_repeated"},
    {GET "Host:\r\n\r\n", "400 host_invalid"},
    {GET "Host: a b\r\n\r\n", "400 host_invalid"},
    {GET "Host: a,b\r\n\r\n", "400 host_invalid"},
    {GET "Host: u@a\r\n\r\n", "400 host_invalid"},
    {GET "Host: a/b\r\n\r\n", "400 host_invalid"},
    {GET "Host: a:b\r\n\r\n", "400 host_invalid"},
    {GET "Host: a:65536\r\n\r\n", "400 host_invalid"},
    {GET "Host: a:0\r\n\r\n", "400 host_invalid"},
    {GET "Host: a:\r\n\r\n", "400 host_invalid"},
    {GET "Host: :80\r\n\r\n", "400 host_invalid"},
    {GET "Host: a:1:2\r\n\r\n", "400 host_invalid"},
    {GET "Host: a:00080\r\n\r\n", "400 host_invalid"},
    {GET "Host: 10.0.0.1:65535\r\n\r\n", "GET http 10.0.0.1:65535 / 11 | none persistent"},
    {"GET //a/./b/ HTTP/1.1\r\n" H E, "GET http a //a/b/ 11 | none persistent"},
    {"GET /a.b/.c/..d?/../ HTTP/1.1\r\n" H E, "GET http a /a.b/.c/..d?/../ 11 | none persistent"},
    {"GET /a;b=c,d@e:f!$&'()*+?\"<>^`{|}\\ HTTP/1.1\r\n" H E,
     "GET http a /a;b=c,d@e:f!$&'()*+?\"<>^`{|}\\ 11 | none persistent"},
    {GET "Host: a:99999\r\n\r\n", "400 host_invalid"},
    {GET "Host: [::1\r\n\r\n", "400 host_invalid"},
    {GET "Host: a\x80\r\n\r\n", "400 host_invalid"},
    {"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "400 host_invalid"},
    /* --- field lines --- */
    {GET " " H E, "400 field_line_folded"},
    {GET H "X: a\r\n b\r\n\r\n", "400 field_line_folded"},
    {GET H "X: a\r\n\tb\r\n\r\n", "400 field_line_folded"},
    {GET H "X: a\r\n \r\n\r\n", "400 field_line_folded"},
    {GET H "X : a\r\n\r\n", "400 field_name_invalid"},
    {GET H "X\t: a\r\n\r\n", "400 field_name_invalid"},
    {GET H ": a\r\n\r\n", "400 field_name_invalid"},
    {GET H "X\r\n\r\n", "400 field_name_invalid"},
    {GET H "X Y: a\r\n\r\n", "400 field_name_invalid"},
    {GET H "X(: a\r\n\r\n", "400 field_name_invalid"},
    {GET H "X\x80: a\r\n\r\n", "400 field_name_invalid"},
    {NUL(GET H "X\0: a\r\n\r\n", "400 field_name_invalid")},
    {GET H "\"x\": a\r\n\r\n", "400 field_name_invalid"},
    {NUL(GET H "X: a\0b\r\n\r\n", "400 field_value_invalid")},
    {GET H "X: a\x01\r\n\r\n", "400 field_value_invalid"},
    {GET H "X: a\x7f\r\n\r\n", "400 field_value_invalid"},
    {GET H "X: a\rb\r\n\r\n", "400 field_value_invalid"},
    {GET H "X: a\r\r\n\r\n", "400 field_value_invalid"},
    {GET H "X: a\nY: b\r\n\r\n", "400 line_ends_without_cr"},
    {GET H "X: a\r\n\n", "400 line_ends_without_cr"},
    {GET H "\n\r\n", "400 line_ends_without_cr"},
    {GET H "X: a\x0b\r\n\r\n", "400 field_value_invalid"},
    /* --- framing --- */
    {GET H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "400 content_length_repeated"},
    {GET H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "400 content_length_repeated"},
    {GET H "Content-Length: 5, 5\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: +5\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: -5\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: 0x5\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: 5 5\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: 5.0\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: \"5\"\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length:\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: 9223372036854775808\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: 99999999999999999999999\r\n\r\n", "400 content_length_invalid"},
    {GET H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     "400 content_length_with_transfer_encoding"},
    {GET H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
     "400 content_length_with_transfer_encoding"},
    {GET H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     "400 transfer_encoding_repeated"},
    {GET H "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
     "501 transfer_encoding_unsupported"},
    {GET H "Transfer-Encoding: gzip, chunked\r\n\r\n", "400 transfer_encoding_invalid"},
    {GET H "Transfer-Encoding: chunked, identity\r\n\r\n", "400 transfer_encoding_invalid"},
    {GET H "Transfer-Encoding: xchunked\r\n\r\n", "400 transfer_encoding_invalid"},
    {GET H "Transfer-Encoding: chunked;q=1\r\n\r\n", "400 transfer_encoding_invalid"},
    {GET H "Transfer-Encoding: \"chunked\"\r\n\r\n", "400 transfer_encoding_invalid"},
    {GET H "Transfer-Encoding: identity\r\n\r\n", "501 transfer_encoding_unsupported"},
    {GET H "Transfer-Encoding: gzip\r\n\r\n", "501 transfer_encoding_unsupported"},
    {GET H "Transfer-Encoding:\r\n\r\n", "400 transfer_encoding_invalid"},
    {GET H "Transfer-Encoding: \x0b"
           "chunked\r\n\r\n",
     "400 field_value_invalid"},
    {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 transfer_encoding_in_http_10"},
    /* --- connection, expect --- */
    {GET H "Connection: host\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: close, Content-Length\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: transfer-encoding\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: X-Forwarded-Client-Cert\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: x-forwarded-for\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: Authorization\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: x-request-id\r\n\r\n", "400 connection_lists_end_to_end_field"},
    {GET H "Connection: a b\r\n\r\n", "400 connection_invalid"},
    {GET H "Connection: \"close\"\r\n\r\n", "400 connection_invalid"},
    {GET H "Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n\r\n",
     "400 connection_lists_too_many"},
    {GET H "Expect: 200-ok\r\n\r\n", "417 expectation_unknown"},
    {GET H "Expect:\r\n\r\n", "417 expectation_unknown"},
};

static const struct row responses[] = {
    {OK200 "Content-Length: 3\r\n\r\n", "200 11 | length 3 persistent"},
    {OK200 "Content-Length: 0\r\n\r\n", "200 11 | none 0 persistent"},
    {OK200 "Transfer-Encoding: chunked\r\n\r\n", "200 11 | chunked persistent"},
    {OK200 E, "200 11 | close"},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 11 | none 0 persistent"},
    {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 11 | none 0 persistent"},
    {"HTTP/1.1 404 Not  \tF\xc3\xbcnd\r\nContent-Length: 0\r\n\r\n", "404 11 | none 0 persistent"},
    {"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", "999 11 | none 0 persistent"},
    {"HTTP/1.0 200 OK\r\n\r\n", "200 10 | close"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", "200 10 | length 2"},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n",
     "200 10 | length 2 persistent"},
    {OK200 "Connection: close\r\nContent-Length: 2\r\n\r\n", "200 11 | length 2"},
    {OK200 "Server: x\r\nDate: y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
     "200 11 | server=x | date=y | set-cookie=a | set-cookie=b | none 0 persistent"},
    {"HTTP/1.1 204 No Content\r\n\r\n", "204 11 | none persistent"},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 11 | none persistent"},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "304 11 | none 7 persistent"},
    {"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "304 11 | none persistent"},
    {"HTTP/1.1 100 Continue\r\n\r\n", "100 11 | none persistent"},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "103 11 | link=x | none persistent"},
    {OK200 "Connection: x-a\r\nX-A: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nTE: x\r\n"
           "Content-Length: 0\r\n\r\n",
     "200 11 | none 0 persistent"},
    {OK200 "Content-Type: application/grpc\r\nContent-Length: 0\r\n\r\n",
     "200 11 | content-type=application/grpc | none 0 persistent grpc"},
    {"HTTP/1.1 20", "more"},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: X\r\nConnection: upgrade\r\n\r\n",
     "101 11 | none persistent"},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "502 switching_protocols_invalid"},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nUpgrade: y\r\nConnection: upgrade\r\n"
     "\r\n",
     "502 switching_protocols_invalid"},
    {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
     "502 switching_protocols_invalid"},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", "502 body_not_allowed"},
    {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "502 body_not_allowed"},
    {"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n", "502 body_not_allowed"},
    {"HTTP/2.0 200 OK\r\n\r\n", "502 version_unsupported"},
    {"HTTP/1.2 200 OK\r\n\r\n", "502 version_unsupported"},
    {"http/1.1 200 OK\r\n\r\n", "400 start_line_invalid"},
    {"ICY 200 OK\r\n\r\n", "400 start_line_invalid"},
    {"H\r\n\r\n", "502 version_invalid"},
    {"\r\n", "400 start_line_empty"},
    {"HTTP/1.1  200 OK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 20 OK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 2000 OK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 099 OK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 +20 OK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 200\tOK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1200 OK\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 200 a\rb\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 200 a\x01\r\n\r\n", "502 status_line_invalid"},
    {"HTTP/1.1 200 OK\n\r\n", "400 line_ends_without_cr"},
    {OK200 "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "502 content_length_repeated"},
    {OK200 "Content-Length: 1,1\r\n\r\n", "502 content_length_invalid"},
    {OK200 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     "502 content_length_with_transfer_encoding"},
    {OK200 "Transfer-Encoding: gzip, chunked\r\n\r\n", "502 transfer_encoding_invalid"},
    {OK200 "Transfer-Encoding: identity\r\n\r\n", "502 transfer_encoding_unsupported"},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "502 transfer_encoding_in_http_10"},
    {OK200 "X : y\r\n\r\n", "502 field_name_invalid"},
    {OK200 " X: y\r\n\r\n", "502 field_line_folded"},
    {OK200 "X: a\rb\r\n\r\n", "502 field_value_invalid"},
    {OK200 "Connection: content-length\r\n\r\n", "502 connection_lists_end_to_end_field"},
};

static const struct row head_responses[] = {
    {OK200 "Content-Length: 3\r\n\r\n", "200 11 | none 3 persistent"},
    {OK200 "Transfer-Encoding: chunked\r\n\r\n", "200 11 | none persistent"},
    {OK200 E, "200 11 | none persistent"},
    {OK200 "Content-Length: x\r\n\r\n", "502 content_length_invalid"},
};

static struct str row_input(const struct row *row)
{
    return str_from(row->input, row->len != 0 ? row->len : strlen(row->input));
}

static void check_row(enum test_kind kind, const struct row *row, const struct limits *l)
{
    struct str input = row_input(row);

    for (size_t split = 0; split <= input.len; split++) {
        struct str_buf got = STR_BUF_INIT(4096);
        test_parse_split(kind, input, split, l, &got);
        if (strcmp(got.ptr, row->want) != 0)
            fail_msg("split %zu of\n%s\nwant %s\ngot  %s", split, row->input, row->want, got.ptr);
        str_buf_deinit(&got);
    }
}

static void test_requests(void **state)
{
    struct limits l = test_limits();

    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        check_row(TEST_REQUEST, &requests[i], &l);
}

static void test_responses(void **state)
{
    struct limits l = test_limits();

    for (size_t i = 0; i < ARRAY_LEN(responses); i++)
        check_row(TEST_RESPONSE, &responses[i], &l);
    for (size_t i = 0; i < ARRAY_LEN(head_responses); i++)
        check_row(TEST_RESPONSE_TO_HEAD, &head_responses[i], &l);
}

/* Byte by byte, each in a slice of its own. */
static void test_single_bytes(void **state)
{
    struct limits l = test_limits();
    struct str input = STR("GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nrest");
    struct h1_scan scan;
    struct arena a;
    struct chain in;
    struct test_parsed p = {0};

    arena_init(&a, 1024);
    chain_init(&in, NULL, NULL);
    h1_scan_init(&scan, H1_SECTION_REQUEST);
    for (size_t i = 0; i < input.len && !p.is_done; i++) {
        test_add_slice(&in, str_sub(input, i, 1));
        test_parse_step(TEST_REQUEST, &scan, &in, &l, &a, &p);
        assert_false(p.is_bad);
    }
    assert_true(p.is_done);
    assert_int_equal(p.consumed, input.len - 4);
    assert_int_equal(scan.done, p.consumed);
    chain_deinit(&in);
    arena_deinit(&a);
}

/* --- limits --- */

static void check_limit(enum test_kind kind, const char *want, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void check_limit(enum test_kind kind, const char *want, const char *fmt, ...)
{
    struct limits l = test_limits();
    struct str_buf got = STR_BUF_INIT(1 << 20);
    char *text;
    va_list args;

    l.url_bytes_max = 256;
    l.header_count_max = 10;
    l.header_bytes_max = 4096;
    va_start(args, fmt);
    assert_true(vasprintf(&text, fmt, args) >= 0);
    va_end(args);
    test_parse_split(kind, str_from_c(text), 0, &l, &got);
    if (strncmp(got.ptr, want, strlen(want)) != 0)
        fail_msg("want %s\ngot  %s", want, got.ptr);
    free(text);
    str_buf_deinit(&got);
}

static void test_limits_hold(void **state)
{
    char a[6000];
    struct str_buf lines = STR_BUF_INIT(1 << 20);

    memset(a, 'a', sizeof a);
    check_limit(TEST_REQUEST, "GET", "GET /%.255s HTTP/1.1\r\nHost: a\r\n\r\n", a);
    check_limit(TEST_REQUEST, "414 request_target", "GET /%.256s HTTP/1.1\r\nHost: a\r\n\r\n", a);
    check_limit(TEST_REQUEST, "414 request_target", "GET /%.2000s HTTP/1.1\r\nHost: a\r\n\r\n", a);
    check_limit(TEST_REQUEST, "more", "GET /%.700s", a);
    check_limit(TEST_REQUEST, "414 start_line", "GET /%.900s", a);
    check_limit(TEST_REQUEST, "GET", GET H "X: %.4089s\r\n\r\n", a);
    check_limit(TEST_REQUEST, "431", GET H "X: %.4091s\r\n\r\n", a);
    check_limit(TEST_REQUEST, "431", GET H "%.4091s: x\r\n\r\n", a);
    check_limit(TEST_REQUEST, "431", GET H "X: %.5500s", a);
    for (int i = 0; i < 9; i++)
        str_buf_add_c(&lines, "x: y\r\n");
    check_limit(TEST_REQUEST, "GET", GET H "%s\r\n", lines.ptr);
    str_buf_add_c(&lines, "x: y\r\n");
    check_limit(TEST_REQUEST, "431", GET H "%s\r\n", lines.ptr);
    str_buf_add_c(&lines, "x: y\r\n");
    check_limit(TEST_REQUEST, "431", GET H "%s", lines.ptr);
    check_limit(TEST_RESPONSE, "431", OK200 "x: y\r\n%s", lines.ptr);
    str_buf_deinit(&lines);
}

static void test_http_10_refused(void **state)
{
    struct limits l = test_limits();
    struct h1_request_options options = test_options(&l);
    struct http_head head;
    struct h1_framing framing;
    struct h1_error error;
    struct arena a;
    char text[] = "GET / HTTP/1.0\r\n\r\n" PAD;

    options.accept_http_10 = false;
    arena_init(&a, 1024);
    assert_true(h1_parse_request(text, 18, &options, &a, &head, &framing, &error) < 0);
    assert_int_equal(error.status, 426);
    arena_deinit(&a);
}

static void test_original_path(void **state)
{
    struct limits l = test_limits();
    struct h1_request_options options = test_options(&l);
    struct http_head head;
    struct h1_framing framing;
    struct h1_error error;
    struct arena a;
    char text[] = "GET /a/../b?c HTTP/1.1\r\nHost: a\r\n\r\n" PAD;

    arena_init(&a, 1024);
    assert_int_equal(h1_parse_request(text, strlen(text), &options, &a, &head, &framing, &error),
                     0);
    assert_true(str_eq(head.path, STR("/b?c")));
    assert_true(str_eq(head.original_path, STR("/a/../b?c")));
    arena_deinit(&a);
}

static const struct row trailer_rows[] = {
    {"X-Sum: 1\r\nY: 2\r\n\r\n", "x-sum=1 y=2 "},
    {"\r\n", ""},
    {"Authorization: x\r\nGrpc-Status: 0\r\nX-Forwarded-For: y\r\nSet-Cookie: z\r\n\r\n",
     "grpc-status=0 "},
    {"Content-Length: 1\r\n\r\n", "400 trailer_forbidden"},
    {"transfer-encoding: chunked\r\n\r\n", "400 trailer_forbidden"},
    {"Host: x\r\n\r\n", "400 trailer_forbidden"},
    {"Connection: close\r\n\r\n", "400 trailer_forbidden"},
    {" X: y\r\n\r\n", "400 field_line_folded"},
    {"X : y\r\n\r\n", "400 field_name_invalid"},
    {"X: y\x01\r\n\r\n", "400 field_value_invalid"},
};

static void test_trailers(void **state)
{
    struct limits l = test_limits();

    for (size_t i = 0; i < ARRAY_LEN(trailer_rows); i++) {
        struct str_buf got = STR_BUF_INIT(4096);
        struct http_head head;
        struct h1_error error;
        struct chain in;
        struct arena a;
        size_t len = strlen(trailer_rows[i].input);

        arena_init(&a, 1024);
        chain_init(&in, NULL, NULL);
        chain_add(&in, str_from_c(trailer_rows[i].input));
        str_buf_add_c(&got, "");
        if (h1_parse_trailers(h1_text_copy(&a, &in, len), len, &l, &a, &head, &error) < 0)
            str_buf_printf(&got, "%u %.*s", error.status, STR_FMT(error.details));
        else
            for (uint32_t k = 0; k < head.field_count; k++)
                str_buf_printf(&got, "%.*s=%.*s ", STR_FMT(head.fields[k].name),
                               STR_FMT(head.fields[k].value));
        assert_string_equal(got.ptr, trailer_rows[i].want);
        chain_deinit(&in);
        arena_deinit(&a);
        str_buf_deinit(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_single_bytes),    cmocka_unit_test(test_limits_hold),
        cmocka_unit_test(test_http_10_refused), cmocka_unit_test(test_original_path),
        cmocka_unit_test(test_trailers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
