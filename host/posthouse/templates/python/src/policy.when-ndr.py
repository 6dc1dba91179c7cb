"""The exports of the component: a class for each interface of its world."""

import wit_world.exports

import notices
import roles
from notices import Ndr


class Lifecycle(wit_world.exports.Lifecycle):
    def describe(self):
        return roles.description(notices)

    def configure(self, settings):
        roles.configure(settings, notices)
