"""The exports of the component: a class for each interface of its world."""

import wit_world.exports

import mail
import roles
from mail import Homing


class Lifecycle(wit_world.exports.Lifecycle):
    def describe(self):
        return roles.description(mail)

    def configure(self, settings):
        roles.configure(settings, mail)
