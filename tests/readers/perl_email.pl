# Authors of messages as Perl's Email::Address reads them, and Email::Address::XS, which has Dovecot's parser.
#
# Reads a JSON list of messages in base64; prints a JSON list with an object for each message: reader to addresses.
use strict;
use warnings;

use Email::Address;
use Email::Address::XS ();
use Email::Simple;
use JSON::PP;
use MIME::Base64;

sub authors {
    my ($mail, $parse) = @_;
    for my $name ("Sender", "From") {
        my @found = map { $parse->($_) } $mail->header_raw($name);
        return \@found if @found;
    }
    return [];
}

my $json = JSON::PP->new->latin1;
local $/;
my @answers;
for my $encoded (@{ $json->decode(<STDIN>) }) {
    my $mail = Email::Simple->new(decode_base64($encoded));
    push @answers, {
        "email-address" => authors($mail, sub { map { $_->address } Email::Address->parse($_[0]) }),
        "dovecot" => authors($mail, sub { map { $_->address // $_->original // "" } Email::Address::XS->parse($_[0]) }),
    };
}
print JSON::PP->new->ascii->encode(\@answers);
