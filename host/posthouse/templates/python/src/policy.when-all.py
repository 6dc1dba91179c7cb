"""The exports of the component: a class for each interface of its world."""

import wit_world.exports

import admission
import mail
import notices
import roles
from admission import Exemption
from mail import Homing
from notices import Ndr


class Lifecycle(wit_world.exports.Lifecycle):
    def describe(self):
        return roles.description(admission, mail, notices)

    def configure(self, settings):
        roles.configure(settings, admission, mail, notices)
